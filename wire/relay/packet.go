package relay

import "github.com/ginnel/ginnel/wire/key"

// AppendSendPacket appends a SendPacket frame that asks the relay to pass data to
// the holder of dst. The caller keeps len(data) within MaxPacketData.
func AppendSendPacket(buf []byte, dst key.NodePublic, data []byte) []byte {
	buf = AppendHeader(buf, FrameSendPacket, KeyLen+len(data))
	buf = dst.AppendTo(buf)
	return append(buf, data...)
}

// ParseSendPacket reads the payload of a SendPacket frame; data is part of payload.
func ParseSendPacket(payload []byte) (dst key.NodePublic, data []byte, err error) {
	if len(payload) < KeyLen || len(payload) > MaxSendPacket {
		return dst, nil, lengthError(FrameSendPacket, len(payload), "32 to 65568")
	}
	return keyAt(payload), payload[KeyLen:], nil
}

// AppendRecvPacket appends a RecvPacket frame: data that came from src.
func AppendRecvPacket(buf []byte, src key.NodePublic, data []byte) []byte {
	buf = AppendHeader(buf, FrameRecvPacket, KeyLen+len(data))
	buf = src.AppendTo(buf)
	return append(buf, data...)
}

// ParseRecvPacket reads the payload of a RecvPacket frame; data is part of payload.
func ParseRecvPacket(payload []byte) (src key.NodePublic, data []byte, err error) {
	if len(payload) < KeyLen {
		return src, nil, lengthError(FrameRecvPacket, len(payload), "at least 32")
	}
	return keyAt(payload), payload[KeyLen:], nil
}

// AppendForwardPacket appends a ForwardPacket frame: data from src, a client of
// this relay, for dst, a client of the relay at the other end.
func AppendForwardPacket(buf []byte, src, dst key.NodePublic, data []byte) []byte {
	return append(AppendForwardHeader(buf, src, dst, len(data)), data...)
}

// AppendForwardHeader appends a ForwardPacket frame but for its n bytes of data.
func AppendForwardHeader(buf []byte, src, dst key.NodePublic, n int) []byte {
	buf = AppendHeader(buf, FrameForwardPacket, 2*KeyLen+n)
	buf = src.AppendTo(buf)
	return dst.AppendTo(buf)
}

// ParseForwardPacket reads the payload of a ForwardPacket frame; data is part of
// payload.
func ParseForwardPacket(payload []byte) (src, dst key.NodePublic, data []byte, err error) {
	if len(payload) < 2*KeyLen || len(payload) > MaxForwardPacket {
		return src, dst, nil, lengthError(FrameForwardPacket, len(payload), "64 to 65600")
	}
	return keyAt(payload), keyAt(payload[KeyLen:]), payload[2*KeyLen:], nil
}

// discoMagic starts every path-discovery message; wire document relay, section 7.4.
const discoMagic = "TS\xf0\x9f\x92\xac"

// minDisco is the shortest message that can be a disco one: magic[6], sender's
// key[32], nonce[24].
const minDisco = len(discoMagic) + KeyLen + nonceLen

// LooksLikeDisco reports whether data begins as a path-discovery message does.
// Relays queue those apart from data.
func LooksLikeDisco(data []byte) bool {
	return len(data) >= minDisco && string(data[:len(discoMagic)]) == discoMagic
}

// keyAt returns the key in the first 32 bytes of b.
func keyAt(b []byte) key.NodePublic { return key.NodePublicFromRaw32([KeyLen]byte(b[:KeyLen])) }
