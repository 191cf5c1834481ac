package maps

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/ginnel/ginnel/wire/control"
)

// newEncoder returns a zstd encoder of a hub. EncodeAll may be called by many
// goroutines; no more than builders of them work at a time. The lowest level is
// the right one: frames are made far more often than they are large.
func newEncoder(builders int, o ...zstd.EOption) *zstd.Encoder {
	enc, err := zstd.NewWriter(nil, append(o,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(builders),
		zstd.WithLowerEncoderMem(true))...)
	if err != nil { // only an option out of range fails
		panic(fmt.Sprintf("maps: zstd encoder: %v", err))
	}
	return enc
}

// appendFrame appends body as one frame of the stream, compressed or not.
func (h *Hub) appendFrame(dst, body []byte, compress bool) []byte {
	if !compress {
		return control.AppendFrame(dst, body)
	}
	at := len(dst)
	dst = append(dst, make([]byte, control.FrameHeaderLen)...)
	return finishFrame(h.zstd.EncodeAll(body, dst), at)
}

// finishFrame writes the length of the frame that begins at index at of dst and
// ends with it.
func finishFrame(dst []byte, at int) []byte {
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-control.FrameHeaderLen))
	return dst
}

// zstd frame header (RFC 8878, section 3.1.1): where the descriptor and the content
// size stand in a frame that has a window descriptor and no dictionary.
const (
	zstdDescriptor  = 4
	zstdContentSize = 6
)

// appendPiece appends body as a zstd frame that does not tell the size of its
// content. Where several frames make one whole, decoders take that size for the
// exact room that they need next, and move all that they have for every frame;
// without it their buffer doubles.
func (h *Hub) appendPiece(dst, body []byte) []byte {
	at := len(dst)
	dst = h.pieces.EncodeAll(body, dst)
	descriptor := &dst[at+zstdDescriptor]
	sizeLen := [4]int{0, 2, 4, 8}[*descriptor>>6]
	*descriptor &= 0x3f
	return slices.Delete(dst, at+zstdContentSize, at+zstdContentSize+sizeLen)
}

// Frame returns body, the JSON of a map response, as one frame of a stream.
func (h *Hub) Frame(body []byte, compress bool) []byte { return h.appendFrame(nil, body, compress) }

// encoded is a body and its two wire forms, each made when first asked for and
// then shared.
type encoded struct {
	body   []byte
	once   [2]sync.Once
	frames [2][]byte
}

func (e *encoded) frame(h *Hub, compress bool) []byte {
	i := 0
	if compress {
		i = 1
	}
	first := false
	e.once[i].Do(func() {
		first = true
		e.frames[i] = h.appendFrame(nil, e.body, compress)
	})
	if first {
		h.stats.encoded.Add(1)
	} else {
		h.stats.shared.Add(1)
	}
	return e.frames[i]
}

// object writes a JSON object member by member.
type object struct {
	buf   []byte
	empty bool
}

func newObject(buf []byte) *object { return &object{buf: append(buf, '{'), empty: true} }

// key starts a member. name needs no escaping.
func (o *object) key(name string) {
	if !o.empty {
		o.buf = append(o.buf, ',')
	}
	o.empty = false
	o.buf = append(o.buf, '"')
	o.buf = append(o.buf, name...)
	o.buf = append(o.buf, '"', ':')
}

// raw writes a member whose value is JSON already.
func (o *object) raw(name string, value []byte) {
	o.key(name)
	o.buf = append(o.buf, value...)
}

// value writes a member.
func (o *object) value(name string, v any) { o.raw(name, mustJSON(v)) }

// list writes a member that is a list of JSON values, or nothing when it is empty.
func (o *object) list(name string, values [][]byte) {
	if len(values) == 0 {
		return
	}
	o.key(name)
	o.buf = append(o.buf, '[')
	for i, v := range values {
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		o.buf = append(o.buf, v...)
	}
	o.buf = append(o.buf, ']')
}

// end closes the object and returns all of it.
func (o *object) end() []byte { return append(o.buf, '}') }

// mustJSON encodes values of the wire types, none of which can fail.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("maps: encode %T: %v", v, err))
	}
	return b
}
