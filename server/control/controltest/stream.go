package controltest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/ginnel/ginnel/wire/control"
)

// maxFrame is the largest frame accepted, in bytes, before and after
// decompression.
const maxFrame = 64 << 20

var (
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
			zstd.WithDecoderMaxMemory(maxFrame),
			zstd.WithDecoderLowmem(true))
		if err != nil { // only an option out of range fails
			panic(err)
		}
		return d
	})
	buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
	decoded = sync.Pool{New: func() any { return new([]byte) }}
)

// Stream is the frames of a map answer. It is for one goroutine.
type Stream struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	plain  bool
}

// Each calls fn with the JSON of the next frame, which is valid until fn
// returns. At the end of the answer the error is io.EOF.
func (s *Stream) Each(fn func(body []byte) error) error {
	var header [control.FrameHeaderLen]byte
	if _, err := io.ReadFull(s.body, header[:]); err != nil {
		return err
	}
	n, err := control.ParseFrameLength(header, maxFrame)
	if err != nil {
		return err
	}
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	buf.Reset()
	if _, err := io.CopyN(buf, s.body, int64(n)); err != nil {
		return fmt.Errorf("map frame is cut short: %w", err)
	}
	if s.plain {
		return fn(buf.Bytes())
	}
	out := decoded.Get().(*[]byte)
	defer decoded.Put(out)
	if *out, err = decoder().DecodeAll(buf.Bytes(), (*out)[:0]); err != nil {
		return fmt.Errorf("map frame: %w", err)
	}
	return fn(*out)
}

// Raw returns the JSON of the next frame.
func (s *Stream) Raw() ([]byte, error) {
	var out []byte
	err := s.Each(func(body []byte) error {
		out = bytes.Clone(body)
		return nil
	})
	return out, err
}

// Next returns the next frame.
func (s *Stream) Next() (*control.MapResponse, error) {
	var out control.MapResponse
	err := s.Each(func(body []byte) error { return json.Unmarshal(body, &out) })
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// Close ends the stream.
func (s *Stream) Close() {
	s.cancel()
	s.body.Close()
}

// runC2N runs the request in payload against handler and returns the whole
// response as bytes.
func runC2N(ctx context.Context, payload []byte, handler http.Handler) ([]byte, error) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(payload)))
	if err != nil {
		return nil, fmt.Errorf("request of the server: %w", err)
	}
	rec := &recorder{header: http.Header{}, code: http.StatusOK}
	handler.ServeHTTP(rec, r.WithContext(ctx))
	resp := http.Response{
		StatusCode: rec.code, ProtoMajor: 1, ProtoMinor: 1, Header: rec.header,
		ContentLength: int64(rec.body.Len()), Body: io.NopCloser(&rec.body),
	}
	var out bytes.Buffer
	if err := resp.Write(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// recorder is an http.ResponseWriter that keeps the answer.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
