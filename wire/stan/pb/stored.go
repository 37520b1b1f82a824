package pb

// Messages of this file are stored, not sent. Numbers that are in use must not
// change their meaning.

// ClientInfo is a connected client.
//
//	1 ID  2 heartbeatInbox  3 connID bytes  4 protocol int32
//	5 pingInterval int32 (s)  6 pingMaxOut int32
type ClientInfo struct {
	ID             []byte
	HeartbeatInbox []byte
	ConnID         []byte
	Protocol       int32
	PingInterval   int32
	PingMaxOut     int32
}

// Decode sets m to what src holds; its slices are parts of src.
func (m *ClientInfo) Decode(src []byte) error {
	*m = ClientInfo{}
	kinds := [...]kind{1: kindBytes, 2: kindBytes, 3: kindBytes, 4: kindVarint, 5: kindVarint, 6: kindVarint}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return err
		}
		switch f.num {
		case 1:
			m.ID = f.bytes
		case 2:
			m.HeartbeatInbox = f.bytes
		case 3:
			m.ConnID = f.bytes
		case 4:
			m.Protocol = int32(f.number)
		case 5:
			m.PingInterval = int32(f.number)
		case 6:
			m.PingMaxOut = int32(f.number)
		}
		src = rest
	}
}

// Append appends the encoded message.
func (m *ClientInfo) Append(dst []byte) []byte {
	dst = appendBytes(dst, 1, m.ID)
	dst = appendBytes(dst, 2, m.HeartbeatInbox)
	dst = appendBytes(dst, 3, m.ConnID)
	dst = appendInt(dst, 4, int64(m.Protocol))
	dst = appendInt(dst, 5, int64(m.PingInterval))
	return appendInt(dst, 6, int64(m.PingMaxOut))
}

// SubscriptionInfo is a subscription of a connected client: a member of the
// consumer whose place is the cursor of that name.
//
//	1 channel  2 cursor  3 clientID  4 inbox  5 maxInFlight int32
//	6 ackWaitInSecs int32  7 order uint64
type SubscriptionInfo struct {
	Channel       []byte
	Cursor        []byte
	ClientID      []byte
	Inbox         []byte
	MaxInFlight   int32
	AckWaitInSecs int32
	Order         uint64
}

// Decode sets m to what src holds; its slices are parts of src.
func (m *SubscriptionInfo) Decode(src []byte) error {
	*m = SubscriptionInfo{}
	kinds := [...]kind{
		1: kindBytes, 2: kindBytes, 3: kindBytes, 4: kindBytes, 5: kindVarint, 6: kindVarint, 7: kindVarint,
	}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return err
		}
		switch f.num {
		case 1:
			m.Channel = f.bytes
		case 2:
			m.Cursor = f.bytes
		case 3:
			m.ClientID = f.bytes
		case 4:
			m.Inbox = f.bytes
		case 5:
			m.MaxInFlight = int32(f.number)
		case 6:
			m.AckWaitInSecs = int32(f.number)
		case 7:
			m.Order = f.number
		}
		src = rest
	}
}

// Append appends the encoded message.
func (m *SubscriptionInfo) Append(dst []byte) []byte {
	dst = appendBytes(dst, 1, m.Channel)
	dst = appendBytes(dst, 2, m.Cursor)
	dst = appendBytes(dst, 3, m.ClientID)
	dst = appendBytes(dst, 4, m.Inbox)
	dst = appendInt(dst, 5, int64(m.MaxInFlight))
	dst = appendInt(dst, 6, int64(m.AckWaitInSecs))
	return appendUint(dst, 7, m.Order)
}

// CursorInfo is what a consumer is, stored with its place.
//
//	1 kind (1 plain, 2 durable, 3 queue, 4 durable queue)
//	2 clientID, of a durable  3 durableName  4 qGroup
type CursorInfo struct {
	Kind        uint64
	ClientID    []byte
	DurableName []byte
	QGroup      []byte
}

// Decode sets m to what src holds; its slices are parts of src.
func (m *CursorInfo) Decode(src []byte) error {
	*m = CursorInfo{}
	kinds := [...]kind{1: kindVarint, 2: kindBytes, 3: kindBytes, 4: kindBytes}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return err
		}
		switch f.num {
		case 1:
			m.Kind = f.number
		case 2:
			m.ClientID = f.bytes
		case 3:
			m.DurableName = f.bytes
		case 4:
			m.QGroup = f.bytes
		}
		src = rest
	}
}

// Append appends the encoded message.
func (m *CursorInfo) Append(dst []byte) []byte {
	dst = appendUint(dst, 1, m.Kind)
	dst = appendBytes(dst, 2, m.ClientID)
	dst = appendBytes(dst, 3, m.DurableName)
	return appendBytes(dst, 4, m.QGroup)
}
