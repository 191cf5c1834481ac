// Package outbox queues relay frames for one connection and writes them in batches,
// so that whoever has something to send never waits for a slow reader.
//
// Frames are kept as the bytes that will be written, in pooled segments. There are
// three queues: control frames, never dropped; path-discovery packets; and data
// packets. The latter two are bounded, and the oldest frame makes room for the
// newest. Path discovery leaves before data. The goroutine that writes exists only
// while there is traffic, so an idle Outbox costs no stack and no buffer.
//
// It knows frames only by their length; what they mean, and what is done when a
// write fails, is for its users.
package outbox

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound an Outbox. Outboxes share one, and with it the budget.
type Limits struct {
	DataBytes, DataFrames   int // queued data packets
	DiscoBytes, DiscoFrames int // queued path-discovery packets
	ControlBytes            int // queued control frames; more ends the Outbox

	// DataAge is how old data may get before it makes room, so that the queue of a
	// slow reader delays nothing for long while that of a fast one may be long.
	// Less than TightBytes is never too old. 0 means any age.
	DataAge time.Duration
	// TightBytes takes the place of DataBytes when that is more and all Outboxes
	// together hold more than Budget bytes. 0 means no budget.
	TightBytes int
	Budget     int64

	used atomic.Int64 // bytes of segments in use
}

// SetDefaults sets the limits of a relay's clients.
func (l *Limits) SetDefaults() {
	l.DataBytes, l.DataFrames = 4<<20, 8192
	l.DiscoBytes, l.DiscoFrames = 96<<10, 128
	l.ControlBytes = 16 << 20
	l.DataAge = 250 * time.Millisecond
	l.TightBytes, l.Budget = 96<<10, 256<<20
}

// Frames returns how many packets of a class may be queued.
func (l *Limits) Frames(class Class) int {
	if class == Disco {
		return l.DiscoFrames
	}
	return l.DataFrames
}

// bytes returns how many bytes of a class may be queued.
func (l *Limits) bytes(class Class) int {
	if class == Disco {
		return l.DiscoBytes
	}
	if l.Budget > 0 && l.used.Load() > l.Budget {
		return min(l.DataBytes, l.TightBytes)
	}
	return l.DataBytes
}

// Class tells the two kinds of packets apart.
type Class uint8

// The kinds of packets.
const (
	Data Class = iota
	Disco
	classes
)

// Count is a number of frames and of their bytes, headers included.
type Count struct{ Frames, Bytes int }

func (c *Count) add(d Count) { c.Frames += d.Frames; c.Bytes += d.Bytes }

// Lost counts packets by class.
type Lost [classes]Count

// Writer is the connection behind an Outbox. The Outbox calls it without holding
// any lock, and from one goroutine at a time but for Failed.
type Writer interface {
	// WriteFrames writes the chunks, one after the other, in as few system calls as
	// it can. It may use them only until it returns. packets counts the packets
	// among the frames. An error ends the Outbox.
	WriteFrames(chunks [][]byte, packets Count) error
	// Failed is told, at most once, why the Outbox ended by itself, and what packets
	// it still held or was writing.
	Failed(err error, lost Lost)
}

// ErrOverflow ends an Outbox whose control frames nobody reads.
var ErrOverflow = errors.New("too many control frames are waiting")

// linger is how long the writing goroutine waits for more before it ends.
const linger = 2 * time.Second

// batchLen is how many bytes of packets one WriteFrames carries at least, if there
// are so many.
const batchLen = 64 << 10

// Kick is what the caller of Add owes to the Outbox.
type Kick uint8

const (
	noKick Kick = iota
	kickStart
	kickWake
)

// state is what the writing goroutine does.
type state uint8

const (
	idle    state = iota // there is none
	writing              // it runs, or is about to, and will look again
	parked               // it waits for a wake
	closed               // it is over
)

// Outbox queues frames for one connection. Its methods are safe for concurrent use
// and never wait for the connection.
type Outbox struct {
	limits *Limits
	w      Writer

	mu          sync.Mutex
	state       state
	control     []byte
	ponging     bool // control holds a frame of AddPong
	controlBusy bool // control frames are being written
	queues      [classes]ring
	wake        chan struct{} // one slot; made with the first goroutine
}

// Init prepares the Outbox. The limits are shared, not copied.
func (o *Outbox) Init(limits *Limits, w Writer) {
	o.limits, o.w = limits, w
	for i := range o.queues {
		o.queues[i].used = &limits.used
	}
}

// Add queues n whole frames of one class, copying them, and returns the older
// frames that had to go for them. The caller must give kick to Kick, soon and in any
// case. ok is false when the Outbox has ended and the frames were not taken. The
// frames together must be within the limits.
func (o *Outbox) Add(class Class, frames []byte, n int) (dropped Count, kick Kick, ok bool) {
	return o.add(class, frames, nil, n)
}

// AddParts is Add for one frame in two parts.
func (o *Outbox) AddParts(class Class, head, body []byte) (dropped Count, kick Kick, ok bool) {
	return o.add(class, head, body, 1)
}

func (o *Outbox) add(class Class, head, body []byte, n int) (dropped Count, kick Kick, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state == closed {
		return Count{}, noKick, false
	}
	q := &o.queues[class]
	dropped = q.evict(o.limits.bytes(class)-len(head)-len(body), o.limits.Frames(class)-n)
	if class == Data && o.limits.DataAge > 0 && q.count.Bytes > o.limits.TightBytes {
		dropped.add(q.expire(time.Now().Add(-o.limits.DataAge), o.limits.TightBytes))
	}
	q.push(head, body, n)
	return dropped, o.kickLocked(), true
}

// AddControl queues control frames, made by appendTo, and starts the writer. It
// reports false when the Outbox has ended, or ends now because too much is queued.
func (o *Outbox) AddControl(appendTo func([]byte) []byte) bool {
	o.mu.Lock()
	if o.state == closed {
		o.mu.Unlock()
		return false
	}
	o.control = appendTo(o.control)
	if len(o.control) > o.limits.ControlBytes {
		lost := o.closeLocked()
		o.mu.Unlock()
		o.w.Failed(ErrOverflow, lost)
		return false
	}
	kick := o.kickLocked()
	o.mu.Unlock()
	o.Kick(kick)
	return true
}

// AddPong queues a control frame of which one at a time is enough. It reports false
// when another is still waiting, or the Outbox has ended.
func (o *Outbox) AddPong(frame []byte) bool {
	o.mu.Lock()
	if o.state == closed || o.ponging {
		o.mu.Unlock()
		return false
	}
	o.ponging = true
	o.control = append(o.control, frame...)
	kick := o.kickLocked()
	o.mu.Unlock()
	o.Kick(kick)
	return true
}

// Preload queues control frames without starting the writer; what is added later,
// from wherever, leaves after them.
func (o *Outbox) Preload(frames []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.control = append(o.control, frames...)
}

// Start starts the writer on what was preloaded.
func (o *Outbox) Start() {
	o.mu.Lock()
	kick := o.kickLocked()
	o.mu.Unlock()
	o.Kick(kick)
}

// kickLocked returns what it takes to make the writer look, and counts it as done,
// so that only one caller is asked for it.
func (o *Outbox) kickLocked() Kick {
	switch o.state {
	case idle:
		o.state = writing
		if o.wake == nil {
			o.wake = make(chan struct{}, 1)
		}
		return kickStart
	case parked:
		o.state = writing
		return kickWake
	}
	return noKick
}

// Kick gets the writer going, as an Add asked for.
func (o *Outbox) Kick(k Kick) {
	switch k {
	case kickStart:
		go o.run()
	case kickWake:
		o.wake <- struct{}{} // has room: one kick for each time it parks
	}
}

// Close ends the Outbox and returns what packets it still held. A write that
// blocks is for the caller to break; its failure is not reported.
func (o *Outbox) Close() Lost {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closeLocked()
}

// closeLocked ends the Outbox.
func (o *Outbox) closeLocked() (lost Lost) {
	if o.state == closed {
		return lost
	}
	if o.state == parked {
		o.wake <- struct{}{}
	}
	o.state = closed
	o.control = nil
	for i := range o.queues {
		lost[i] = o.queues[i].clear()
	}
	return lost
}

// Flushed waits until control frames queued before are written, or the Outbox has
// ended. It returns false when ctx ends first.
func (o *Outbox) Flushed(ctx context.Context) bool {
	tick := time.NewTicker(flushPoll)
	defer tick.Stop()
	for !o.flushed() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// flushPoll is how often Flushed looks: it is for the end of a connection, and the
// writer should not have to think of it.
const flushPoll = 2 * time.Millisecond

func (o *Outbox) flushed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.control) == 0 && !o.controlBusy || o.state == closed
}

// Queued counts the packets that wait.
func (o *Outbox) Queued() (c Count) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.queues {
		c.add(o.queues[i].count)
	}
	return c
}

// run writes until there has been nothing to write for a while.
func (o *Outbox) run() {
	var b batch
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for {
		o.mu.Lock()
		if o.state == closed {
			o.mu.Unlock()
			return
		}
		o.controlBusy = false
		o.takeLocked(&b)
		if len(b.chunks) == 0 {
			o.state = parked
			o.mu.Unlock()
			if !o.park(timer) {
				return
			}
			continue
		}
		o.mu.Unlock()
		err := o.w.WriteFrames(b.chunks, b.packets())
		if err != nil {
			o.fail(err, &b)
			return
		}
		b.recycle(&o.limits.used)
	}
}

// park waits to be woken, or gives up and reports false.
func (o *Outbox) park(timer *time.Timer) bool {
	timer.Reset(linger)
	select {
	case <-o.wake:
		return true
	case <-timer.C:
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state == parked {
		o.state = idle
		return false
	}
	<-o.wake // woken, or closed, at the same moment
	return true
}

// fail ends the Outbox after a write failed, unless it was closed already.
func (o *Outbox) fail(err error, b *batch) {
	o.mu.Lock()
	wasClosed := o.state == closed
	lost := o.closeLocked()
	o.mu.Unlock()
	for i := range lost {
		lost[i].add(b.counts[i])
	}
	b.recycle(&o.limits.used)
	if !wasClosed {
		o.w.Failed(err, lost)
	}
}

// takeLocked moves the next batch out of the queues.
func (o *Outbox) takeLocked(b *batch) {
	if len(o.control) > 0 {
		b.chunks = append(b.chunks, o.control)
		o.control, o.ponging, o.controlBusy = nil, false, true
	}
	taken := 0
	for _, class := range [...]Class{Disco, Data} {
		q := &o.queues[class]
		for taken < batchLen && q.count.Frames > 0 {
			seg := q.pop()
			taken += len(seg.buf) - seg.start
			b.counts[class].add(Count{seg.frames, len(seg.buf) - seg.start})
			b.segs = append(b.segs, seg)
			b.chunks = append(b.chunks, seg.buf[seg.start:])
		}
	}
}

// batch is what is being written.
type batch struct {
	chunks [][]byte
	segs   []*segment
	counts Lost
}

// packets counts both classes.
func (b *batch) packets() (c Count) {
	c.add(b.counts[Data])
	c.add(b.counts[Disco])
	return c
}

// recycle empties the batch.
func (b *batch) recycle(used *atomic.Int64) {
	for i, seg := range b.segs {
		seg.release(used)
		b.segs[i] = nil
	}
	clear(b.chunks)
	b.chunks, b.segs, b.counts = b.chunks[:0], b.segs[:0], Lost{}
}
