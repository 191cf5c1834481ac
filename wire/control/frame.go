package control

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// KeepAliveBody is the body of a keepalive frame before compression. Nodes
// compare keepalives byte for byte, so it is always written so (section 5.3).
const KeepAliveBody = `{"KeepAlive":true}`

// FrameHeaderLen is the length in bytes of the header of a map stream frame.
const FrameHeaderLen = 4

// ErrEmptyFrame is returned for a frame header announcing no body.
var ErrEmptyFrame = errors.New("map frame: length is zero")

// FrameTooLargeError is returned for a frame header announcing a body over the
// reader's limit. Lengths are in bytes.
type FrameTooLargeError struct {
	Length, Max int64
}

// Error names both lengths.
func (e *FrameTooLargeError) Error() string {
	return fmt.Sprintf("map frame: length %d is over the limit of %d bytes", e.Length, e.Max)
}

// AppendFrame appends body, already compressed if the node asked for that, as one
// frame of the map stream: a little-endian uint32 length and the body (section
// 5.3). An empty body makes no valid frame; body must be under 4 GiB.
func AppendFrame(dst, body []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
	return append(dst, body...)
}

// ParseFrameLength returns the length in bytes of the body that follows header.
// It fails with ErrEmptyFrame for zero and with a FrameTooLargeError for more than
// max bytes.
func ParseFrameLength(header [FrameHeaderLen]byte, max int) (int, error) {
	n := binary.LittleEndian.Uint32(header[:])
	if n == 0 {
		return 0, ErrEmptyFrame
	}
	if int64(n) > int64(max) {
		return 0, &FrameTooLargeError{Length: int64(n), Max: int64(max)}
	}
	return int(n), nil
}
