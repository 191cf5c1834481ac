package client

import (
	"fmt"
	"io"

	"github.com/ginnel/ginnel/wire/relay"
)

// readBufferLen is the usual size of the receive buffer: two TLS records.
const readBufferLen = 32 << 10

// frameReader cuts a byte stream into frames in one buffer that only moves when no
// whole frame is left in it.
type frameReader struct {
	buf  []byte
	r, w int // buf[r:w] is unread
}

// init makes the buffer.
func (f *frameReader) init() { f.buf = make([]byte, readBufferLen) }

// prepend puts bytes that were read ahead in front; the buffer must be empty.
func (f *frameReader) prepend(b []byte) {
	f.r, f.w = 0, copy(f.buf, b)
}

// ready reports whether a whole frame is in the buffer.
func (f *frameReader) ready() bool {
	_, n, ok := relay.ParseHeader(f.buf[f.r:f.w])
	return ok && uint64(f.w-f.r) >= relay.HeaderLen+uint64(n)
}

// frame returns the next frame, reading from src until it is whole. Frames returned
// stay valid as long as ready is true; the first call with ready false reuses their
// memory.
func (f *frameReader) frame(src io.Reader) (relay.FrameType, []byte, error) {
	for {
		typ, n, ok := relay.ParseHeader(f.buf[f.r:f.w])
		need := relay.HeaderLen
		if ok {
			if n > relay.MaxClientFrame {
				return typ, nil, fmt.Errorf("relay client: frame %v of %d bytes, limit %d", typ, n, relay.MaxClientFrame)
			}
			need += int(n)
			if f.w-f.r >= need {
				payload := f.buf[f.r+relay.HeaderLen : f.r+need : f.r+need]
				f.r += need
				return typ, payload, nil
			}
		}
		if err := f.fill(src, need); err != nil {
			return 0, nil, err
		}
	}
}

// fill makes room for a frame of need bytes and reads once.
func (f *frameReader) fill(src io.Reader, need int) error {
	left := f.w - f.r
	switch {
	case need > len(f.buf):
		buf := make([]byte, need+readBufferLen)
		copy(buf, f.buf[f.r:f.w])
		f.buf = buf
	case left == 0 && len(f.buf) > 4*readBufferLen:
		f.buf = make([]byte, readBufferLen) // a giant has passed
	default:
		copy(f.buf, f.buf[f.r:f.w])
	}
	f.r, f.w = 0, left
	n, err := src.Read(f.buf[f.w:])
	f.w += n
	if n > 0 {
		return nil
	}
	if err == io.EOF && left > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}
