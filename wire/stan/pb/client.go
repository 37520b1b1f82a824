package pb

// ConnectRequest asks for a connection: sent to the discover subject.
//
//	1 clientID  2 heartbeatInbox  3 protocol int32  4 connID bytes
//	5 pingInterval int32 (s)  6 pingMaxOut int32
type ConnectRequest struct {
	ClientID       []byte
	HeartbeatInbox []byte
	Protocol       int32
	ConnID         []byte
	PingInterval   int32
	PingMaxOut     int32
}

// Decode sets m to what src holds; its slices are parts of src.
func (m *ConnectRequest) Decode(src []byte) error {
	*m = ConnectRequest{}
	kinds := [...]kind{1: kindBytes, 2: kindBytes, 3: kindVarint, 4: kindBytes, 5: kindVarint, 6: kindVarint}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return err
		}
		switch f.num {
		case 1:
			m.ClientID = f.bytes
		case 2:
			m.HeartbeatInbox = f.bytes
		case 3:
			m.Protocol = int32(f.number)
		case 4:
			m.ConnID = f.bytes
		case 5:
			m.PingInterval = int32(f.number)
		case 6:
			m.PingMaxOut = int32(f.number)
		}
		src = rest
	}
}

// Append appends the encoded message.
func (m *ConnectRequest) Append(dst []byte) []byte {
	dst = appendBytes(dst, 1, m.ClientID)
	dst = appendBytes(dst, 2, m.HeartbeatInbox)
	dst = appendInt(dst, 3, int64(m.Protocol))
	dst = appendBytes(dst, 4, m.ConnID)
	dst = appendInt(dst, 5, int64(m.PingInterval))
	return appendInt(dst, 6, int64(m.PingMaxOut))
}

// PubMsg is a publish.
//
//	1 clientID  2 guid  3 subject  4 reply  5 data bytes  6 connID bytes
//	10 sha256 bytes (ignored)
type PubMsg struct {
	ClientID []byte
	GUID     []byte
	Subject  []byte
	Reply    []byte
	Data     []byte
	ConnID   []byte
}

// Decode sets m to what src holds; its slices are parts of src.
func (m *PubMsg) Decode(src []byte) error {
	*m = PubMsg{}
	kinds := [...]kind{
		1: kindBytes, 2: kindBytes, 3: kindBytes, 4: kindBytes, 5: kindBytes, 6: kindBytes,
		10: kindBytes,
	}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return err
		}
		switch f.num {
		case 1:
			m.ClientID = f.bytes
		case 2:
			m.GUID = f.bytes
		case 3:
			m.Subject = f.bytes
		case 4:
			m.Reply = f.bytes
		case 5:
			m.Data = f.bytes
		case 6:
			m.ConnID = f.bytes
		}
		src = rest
	}
}

// Append appends the encoded message.
func (m *PubMsg) Append(dst []byte) []byte {
	dst = appendBytes(dst, 1, m.ClientID)
	dst = appendBytes(dst, 2, m.GUID)
	dst = appendBytes(dst, 3, m.Subject)
	dst = appendBytes(dst, 4, m.Reply)
	dst = appendBytes(dst, 5, m.Data)
	return appendBytes(dst, 6, m.ConnID)
}

// Ack acknowledges a delivered message.
//
//	1 subject  2 sequence uint64
type Ack struct {
	Subject  []byte
	Sequence uint64
}

// Decode sets m to what src holds; its slices are parts of src.
func (m *Ack) Decode(src []byte) error {
	*m = Ack{}
	kinds := [...]kind{1: kindBytes, 2: kindVarint}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return err
		}
		switch f.num {
		case 1:
			m.Subject = f.bytes
		case 2:
			m.Sequence = f.number
		}
		src = rest
	}
}

// Append appends the encoded message.
func (m *Ack) Append(dst []byte) []byte {
	dst = appendBytes(dst, 1, m.Subject)
	return appendUint(dst, 2, m.Sequence)
}

// StartPosition says where a new subscription begins.
type StartPosition int32

// The start positions; any other number is refused.
const (
	NewOnly        StartPosition = 0
	LastReceived   StartPosition = 1
	TimeDeltaStart StartPosition = 2
	SequenceStart  StartPosition = 3
	First          StartPosition = 4
)

// SubscriptionRequest asks for a subscription.
//
//	1 clientID  2 subject  3 qGroup  4 inbox  5 maxInFlight int32
//	6 ackWaitInSecs int32  7 durableName  10 startPosition enum
//	11 startSequence uint64  12 startTimeDelta int64 (ns)
type SubscriptionRequest struct {
	ClientID       []byte
	Subject        []byte
	QGroup         []byte
	Inbox          []byte
	MaxInFlight    int32
	AckWaitInSecs  int32
	DurableName    []byte
	StartPosition  StartPosition
	StartSequence  uint64
	StartTimeDelta int64
}

// Decode sets m to what src holds; its slices are parts of src.
func (m *SubscriptionRequest) Decode(src []byte) error {
	*m = SubscriptionRequest{}
	kinds := [...]kind{
		1: kindBytes, 2: kindBytes, 3: kindBytes, 4: kindBytes, 5: kindVarint, 6: kindVarint, 7: kindBytes,
		10: kindVarint, 11: kindVarint, 12: kindVarint,
	}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return err
		}
		switch f.num {
		case 1:
			m.ClientID = f.bytes
		case 2:
			m.Subject = f.bytes
		case 3:
			m.QGroup = f.bytes
		case 4:
			m.Inbox = f.bytes
		case 5:
			m.MaxInFlight = int32(f.number)
		case 6:
			m.AckWaitInSecs = int32(f.number)
		case 7:
			m.DurableName = f.bytes
		case 10:
			m.StartPosition = StartPosition(int32(f.number))
		case 11:
			m.StartSequence = f.number
		case 12:
			m.StartTimeDelta = int64(f.number)
		}
		src = rest
	}
}

// Append appends the encoded message.
func (m *SubscriptionRequest) Append(dst []byte) []byte {
	dst = appendBytes(dst, 1, m.ClientID)
	dst = appendBytes(dst, 2, m.Subject)
	dst = appendBytes(dst, 3, m.QGroup)
	dst = appendBytes(dst, 4, m.Inbox)
	dst = appendInt(dst, 5, int64(m.MaxInFlight))
	dst = appendInt(dst, 6, int64(m.AckWaitInSecs))
	dst = appendBytes(dst, 7, m.DurableName)
	dst = appendInt(dst, 10, int64(m.StartPosition))
	dst = appendUint(dst, 11, m.StartSequence)
	return appendInt(dst, 12, m.StartTimeDelta)
}

// UnsubscribeRequest ends a subscription, or closes it.
//
//	1 clientID  2 subject  3 inbox  4 durableName (ignored)
type UnsubscribeRequest struct {
	ClientID    []byte
	Subject     []byte
	Inbox       []byte
	DurableName []byte
}

// Decode sets m to what src holds; its slices are parts of src.
func (m *UnsubscribeRequest) Decode(src []byte) error {
	*m = UnsubscribeRequest{}
	kinds := [...]kind{1: kindBytes, 2: kindBytes, 3: kindBytes, 4: kindBytes}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return err
		}
		switch f.num {
		case 1:
			m.ClientID = f.bytes
		case 2:
			m.Subject = f.bytes
		case 3:
			m.Inbox = f.bytes
		case 4:
			m.DurableName = f.bytes
		}
		src = rest
	}
}

// Append appends the encoded message.
func (m *UnsubscribeRequest) Append(dst []byte) []byte {
	dst = appendBytes(dst, 1, m.ClientID)
	dst = appendBytes(dst, 2, m.Subject)
	dst = appendBytes(dst, 3, m.Inbox)
	return appendBytes(dst, 4, m.DurableName)
}

// CloseRequest ends a connection.
//
//	1 clientID
type CloseRequest struct{ ClientID []byte }

// Decode sets m to what src holds; its slices are parts of src.
func (m *CloseRequest) Decode(src []byte) (err error) {
	m.ClientID, err = decodeBytes(src)
	return err
}

// Append appends the encoded message.
func (m *CloseRequest) Append(dst []byte) []byte { return appendBytes(dst, 1, m.ClientID) }

// Ping asks whether a connection is still known.
//
//	1 connID bytes
type Ping struct{ ConnID []byte }

// Decode sets m to what src holds; its slices are parts of src.
func (m *Ping) Decode(src []byte) (err error) {
	m.ConnID, err = decodeBytes(src)
	return err
}

// Append appends the encoded message.
func (m *Ping) Append(dst []byte) []byte { return appendBytes(dst, 1, m.ConnID) }

// decodeBytes reads a message whose only field is number 1.
func decodeBytes(src []byte) (value []byte, err error) {
	kinds := [...]kind{1: kindBytes}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return value, err
		}
		value, src = f.bytes, rest
	}
}
