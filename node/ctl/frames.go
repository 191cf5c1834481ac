package ctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/ginnel/ginnel/wire/control"
)

// Limits of one frame of the map stream, in bytes: as it travels, and unpacked.
// The map of ten thousand peers takes a small part of them.
const (
	maxFrame    = 64 << 20
	maxUnpacked = 256 << 20
)

// keepShrunk is the capacity above which a frame buffer is not kept for the next
// frame: a full map comes once, small deltas come for days.
const keepShrunk = 1 << 20

// frameReader takes the map stream apart. It is not safe for concurrent use.
type frameReader struct {
	r        io.Reader
	zstd     *zstd.Decoder
	packed   bytes.Buffer
	unpacked []byte
}

func newFrameReader(r io.Reader) (*frameReader, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &frameReader{r: r, zstd: dec}, nil
}

// next reads one frame. It returns io.EOF when the stream ends between frames.
func (f *frameReader) next() (*control.MapResponse, error) {
	var header [control.FrameHeaderLen]byte
	if _, err := io.ReadFull(f.r, header[:]); err != nil {
		return nil, err
	}
	length, err := control.ParseFrameLength(header, maxFrame)
	if err != nil {
		return nil, err
	}
	if f.packed.Cap() > keepShrunk {
		f.packed = bytes.Buffer{}
	}
	f.packed.Reset()
	// The buffer grows with what arrives, not with what the header promises.
	if _, err := io.CopyN(&f.packed, f.r, int64(length)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if cap(f.unpacked) > keepShrunk {
		f.unpacked = nil
	}
	f.unpacked, err = f.zstd.DecodeAll(f.packed.Bytes(), f.unpacked[:0])
	if err != nil {
		return nil, fmt.Errorf("map frame: %w", err)
	}
	if string(f.unpacked) == control.KeepAliveBody {
		return &control.MapResponse{KeepAlive: true}, nil
	}
	var resp control.MapResponse
	if err := json.Unmarshal(f.unpacked, &resp); err != nil {
		return nil, fmt.Errorf("map frame: %w", err)
	}
	return &resp, nil
}

// close frees the decoder.
func (f *frameReader) close() { f.zstd.Close() }
