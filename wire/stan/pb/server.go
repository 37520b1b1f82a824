package pb

import "google.golang.org/protobuf/encoding/protowire"

// ConnectResponse answers a ConnectRequest with the subjects to use.
//
//	1 pubPrefix  2 subRequests  3 unsubRequests  4 closeRequests  5 error
//	6 subCloseRequests  7 pingRequests  8 pingInterval int32
//	9 pingMaxOut int32  10 protocol int32  100 publicKey (never set)
type ConnectResponse struct {
	PubPrefix        string
	SubRequests      string
	UnsubRequests    string
	CloseRequests    string
	Error            string
	SubCloseRequests string
	PingRequests     string
	PingInterval     int32
	PingMaxOut       int32
	Protocol         int32
}

// Decode sets m to what src holds.
func (m *ConnectResponse) Decode(src []byte) error {
	*m = ConnectResponse{}
	kinds := [...]kind{
		1: kindBytes, 2: kindBytes, 3: kindBytes, 4: kindBytes, 5: kindBytes, 6: kindBytes, 7: kindBytes,
		8: kindVarint, 9: kindVarint, 10: kindVarint,
	}
	texts := [...]*string{
		1: &m.PubPrefix, 2: &m.SubRequests, 3: &m.UnsubRequests, 4: &m.CloseRequests, 5: &m.Error,
		6: &m.SubCloseRequests, 7: &m.PingRequests,
	}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return err
		}
		switch f.num {
		case 8:
			m.PingInterval = int32(f.number)
		case 9:
			m.PingMaxOut = int32(f.number)
		case 10:
			m.Protocol = int32(f.number)
		default:
			*texts[f.num] = string(f.bytes)
		}
		src = rest
	}
}

// Append appends the encoded message.
func (m *ConnectResponse) Append(dst []byte) []byte {
	dst = appendString(dst, 1, m.PubPrefix)
	dst = appendString(dst, 2, m.SubRequests)
	dst = appendString(dst, 3, m.UnsubRequests)
	dst = appendString(dst, 4, m.CloseRequests)
	dst = appendString(dst, 5, m.Error)
	dst = appendString(dst, 6, m.SubCloseRequests)
	dst = appendString(dst, 7, m.PingRequests)
	dst = appendInt(dst, 8, int64(m.PingInterval))
	dst = appendInt(dst, 9, int64(m.PingMaxOut))
	return appendInt(dst, 10, int64(m.Protocol))
}

// PubAck answers a PubMsg.
//
//	1 guid  2 error (empty: stored)
type PubAck struct {
	GUID  []byte
	Error []byte
}

// Decode sets m to what src holds; its slices are parts of src.
func (m *PubAck) Decode(src []byte) error {
	*m = PubAck{}
	kinds := [...]kind{1: kindBytes, 2: kindBytes}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return err
		}
		if f.num == 1 {
			m.GUID = f.bytes
		} else {
			m.Error = f.bytes
		}
		src = rest
	}
}

// Append appends the encoded message.
func (m *PubAck) Append(dst []byte) []byte {
	dst = appendBytes(dst, 1, m.GUID)
	return appendBytes(dst, 2, m.Error)
}

// MsgProto is a delivery.
//
//	1 sequence uint64  2 subject  3 reply  4 data bytes  5 timestamp int64 (ns)
//	6 redelivered bool  7 redeliveryCount uint32  10 CRC32 uint32 (never set)
type MsgProto struct {
	Sequence        uint64
	Subject         []byte
	Reply           []byte
	Data            []byte
	Timestamp       int64
	Redelivered     bool
	RedeliveryCount uint32
}

// Decode sets m to what src holds; its slices are parts of src.
func (m *MsgProto) Decode(src []byte) error {
	*m = MsgProto{}
	kinds := [...]kind{
		1: kindVarint, 2: kindBytes, 3: kindBytes, 4: kindBytes, 5: kindVarint, 6: kindVarint, 7: kindVarint,
		10: kindVarint,
	}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return err
		}
		switch f.num {
		case 1:
			m.Sequence = f.number
		case 2:
			m.Subject = f.bytes
		case 3:
			m.Reply = f.bytes
		case 4:
			m.Data = f.bytes
		case 5:
			m.Timestamp = int64(f.number)
		case 6:
			m.Redelivered = f.number != 0
		case 7:
			m.RedeliveryCount = uint32(f.number)
		}
		src = rest
	}
}

// Append appends the encoded message.
func (m *MsgProto) Append(dst []byte) []byte {
	return append(m.AppendPrefix(dst, len(m.Data)), m.Data...)
}

// AppendPrefix appends all of the message but the bytes of its data, of which
// dataBytes must follow. That is how stored values go out without being copied
// here: protobuf lets fields come in any order, so the data is the last.
func (m *MsgProto) AppendPrefix(dst []byte, dataBytes int) []byte {
	dst = appendUint(dst, 1, m.Sequence)
	dst = appendBytes(dst, 2, m.Subject)
	dst = appendBytes(dst, 3, m.Reply)
	dst = appendInt(dst, 5, m.Timestamp)
	dst = appendBool(dst, 6, m.Redelivered)
	dst = appendUint(dst, 7, uint64(m.RedeliveryCount))
	if dataBytes == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, 4, protowire.BytesType)
	return protowire.AppendVarint(dst, uint64(dataBytes))
}

// SubscriptionResponse answers a SubscriptionRequest or an UnsubscribeRequest.
//
//	2 ackInbox  3 error
type SubscriptionResponse struct {
	AckInbox string
	Error    string
}

// Decode sets m to what src holds.
func (m *SubscriptionResponse) Decode(src []byte) error {
	*m = SubscriptionResponse{}
	kinds := [...]kind{2: kindBytes, 3: kindBytes}
	var f field
	for {
		rest, ok, err := next(src, kinds[:], &f)
		if !ok || err != nil {
			return err
		}
		if f.num == 2 {
			m.AckInbox = string(f.bytes)
		} else {
			m.Error = string(f.bytes)
		}
		src = rest
	}
}

// Append appends the encoded message.
func (m *SubscriptionResponse) Append(dst []byte) []byte {
	dst = appendString(dst, 2, m.AckInbox)
	return appendString(dst, 3, m.Error)
}

// CloseResponse answers a CloseRequest.
//
//	1 error
type CloseResponse struct{ Error string }

// Decode sets m to what src holds.
func (m *CloseResponse) Decode(src []byte) error {
	b, err := decodeBytes(src)
	m.Error = string(b)
	return err
}

// Append appends the encoded message.
func (m *CloseResponse) Append(dst []byte) []byte { return appendString(dst, 1, m.Error) }

// PingResponse answers a Ping.
//
//	1 error
type PingResponse struct{ Error string }

// Decode sets m to what src holds.
func (m *PingResponse) Decode(src []byte) error {
	b, err := decodeBytes(src)
	m.Error = string(b)
	return err
}

// Append appends the encoded message.
func (m *PingResponse) Append(dst []byte) []byte { return appendString(dst, 1, m.Error) }
