package relay

import (
	"encoding/binary"
	"time"
)

// PingLen is the length of the data that a Ping carries and a Pong returns.
const PingLen = 8

// AppendKeepAlive appends a KeepAlive frame.
func AppendKeepAlive(dst []byte) []byte { return AppendHeader(dst, FrameKeepAlive, 0) }

// AppendNotePreferred appends a NotePreferred frame: whether this relay is the
// client's home.
func AppendNotePreferred(dst []byte, home bool) []byte {
	dst = AppendHeader(dst, FrameNotePreferred, 1)
	if home {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// ParseNotePreferred reads the payload of a NotePreferred frame.
func ParseNotePreferred(payload []byte) (home bool, err error) {
	if len(payload) != 1 {
		return false, lengthError(FrameNotePreferred, len(payload), "1")
	}
	return payload[0] != 0, nil
}

// AppendPing appends a Ping frame.
func AppendPing(dst []byte, data [PingLen]byte) []byte {
	return append(AppendHeader(dst, FramePing, PingLen), data[:]...)
}

// AppendPong appends a Pong frame.
func AppendPong(dst []byte, data [PingLen]byte) []byte {
	return append(AppendHeader(dst, FramePong, PingLen), data[:]...)
}

// ParsePing reads the payload of a Ping or Pong frame; bytes after the first eight
// are ignored. A relay holds a Ping to MaxPing besides.
func ParsePing(payload []byte) (data [PingLen]byte, err error) {
	if len(payload) < PingLen {
		return data, lengthError(FramePing, len(payload), "at least 8")
	}
	return [PingLen]byte(payload[:PingLen]), nil
}

// AppendHealth appends a Health frame. Empty text means that the relay is well.
func AppendHealth(dst []byte, text string) []byte {
	return append(AppendHeader(dst, FrameHealth, len(text)), text...)
}

// Restarting is a relay's notice that it is about to restart.
type Restarting struct {
	ReconnectIn time.Duration // how long to wait before connecting again; whole milliseconds
	TryFor      time.Duration // how long to keep trying before taking it as a failure
}

// restartingLen is two 32-bit counts of milliseconds.
const restartingLen = 8

// Append appends the Restarting frame to dst.
func (r Restarting) Append(dst []byte) []byte {
	dst = AppendHeader(dst, FrameRestarting, restartingLen)
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.ReconnectIn.Milliseconds()))
	return binary.BigEndian.AppendUint32(dst, uint32(r.TryFor.Milliseconds()))
}

// ParseRestarting reads the payload of a Restarting frame.
func ParseRestarting(payload []byte) (Restarting, error) {
	if len(payload) < restartingLen {
		return Restarting{}, lengthError(FrameRestarting, len(payload), "at least 8")
	}
	return Restarting{
		ReconnectIn: time.Duration(binary.BigEndian.Uint32(payload)) * time.Millisecond,
		TryFor:      time.Duration(binary.BigEndian.Uint32(payload[4:])) * time.Millisecond,
	}, nil
}
