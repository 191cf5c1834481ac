package maps

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// Source is where changes come from; *tailnet.Service is one.
type Source interface {
	Subscribe(fn func(tailnet.ChangeSet)) (start *tailnet.Snapshot, cancel func())
}

// Config is what every map holds beside the model.
type Config struct {
	// BaseDomain is the DNS name under which all nodes are named, without dots
	// at its ends. It must not be a name that exists in public: nodes answer
	// for it themselves. Empty means DefaultBaseDomain.
	BaseDomain string
	// Domain is the tailnet's name for display. Empty means BaseDomain.
	Domain string
	// DERPMap returns the relays in force; nil means there are none.
	DERPMap func() *control.DERPMap
	// Visibility nil means AllowAll.
	Visibility Visibility
	// SelfCaps are what every node is told it may or should do. Nil means
	// DefaultSelfCaps.
	SelfCaps control.NodeCapMap
	// Coalesce is how far apart frames of one stream are at least, so that a
	// burst of changes costs one frame. The first change after a pause is told
	// at once. 0 means DefaultCoalesce.
	Coalesce time.Duration
}

// Defaults of Config.
const (
	DefaultBaseDomain = "tail.ginnel.internal"
	DefaultCoalesce   = 50 * time.Millisecond
)

// DefaultSelfCaps lets nodes keep their map on disk, so that they come up while
// the server is away.
var DefaultSelfCaps = control.NodeCapMap{control.AttrCacheMaps: nil}

const (
	// maxLog is how many change sets the log holds. A stream that has not
	// taken those pushed out is lost and must start again.
	maxLog = 1 << 14
	// maxHold bounds how long a publication waits for streams to take the one
	// before. Under load this makes frames fewer and larger.
	maxHold = 200 * time.Millisecond
)

// Errors that end a stream.
var (
	// ErrNoNode means that there is no such node, or no longer.
	ErrNoNode = errors.New("no such node")
	// ErrBehind means that the stream missed changes and must start again.
	ErrBehind = errors.New("stream is too far behind")
	// ErrClosed means that the hub or the stream was closed.
	ErrClosed = errors.New("map stream closed")
)

// Stats are counts since the hub was made.
type Stats struct {
	Streams   int    // open now
	Published uint64 // change sets told
	Full      uint64 // full maps built
	FullBytes uint64 // their size before compression

	BlocksEncoded uint64 // blocks of peers packed for full maps
	BlocksShared  uint64 // blocks of peers that were packed already

	Encoded uint64 // delta frames encoded
	Shared  uint64 // delta frames that were encoded already
	Lost    uint64 // streams that fell behind
}

// entry is one change set of the log.
type entry struct {
	changes []tailnet.Change
	derpMap bool // the relay map changed
}

// Hub makes the frames of all map streams. Its methods are safe for concurrent
// use.
type Hub struct {
	cfg    Config
	zstd   *zstd.Encoder // of frames
	pieces *zstd.Encoder // of appendPiece
	nodes  nodeCache
	blocks blockCache
	slots  chan struct{} // held by those who build a full map
	cancel func()        // ends the subscription
	signal chan struct{} // something was appended, or enough streams have caught up
	stop   chan struct{}
	done   chan struct{}

	peersEnd []byte // what follows the last block of peers, packed

	stats struct {
		published, full, fullBytes, blocksEncoded, blocksShared, encoded, shared, lost atomic.Uint64
	}

	mu       sync.Mutex
	closed   bool
	latest   *tailnet.Snapshot // after the last entry of the log
	log      []entry           // numbers base to base+len(log)
	base     uint64
	head     uint64            // streams are told of entries below it
	headSnap *tailnet.Snapshot // before entry head
	streams  map[*Stream]struct{}
	behind   int           // streams whose cursor is below head
	release  int           // how many of them do not hold up the next publication
	told     time.Time     // when head was published
	delivery time.Duration // from then until most streams had taken it
	deltas   map[deltaKey]*delta
}

// NewHub starts a hub. Close ends it.
func NewHub(src Source, cfg Config) *Hub {
	if cfg.BaseDomain == "" {
		cfg.BaseDomain = DefaultBaseDomain
	}
	if cfg.Domain == "" {
		cfg.Domain = cfg.BaseDomain
	}
	if cfg.DERPMap == nil {
		cfg.DERPMap = func() *control.DERPMap { return &control.DERPMap{Regions: map[int]*control.DERPRegion{}} }
	}
	if cfg.Visibility == nil {
		cfg.Visibility = AllowAll{}
	}
	if cfg.SelfCaps == nil {
		cfg.SelfCaps = DefaultSelfCaps
	}
	if cfg.Coalesce == 0 {
		cfg.Coalesce = DefaultCoalesce
	}
	builders := runtime.GOMAXPROCS(0)
	h := &Hub{
		cfg:     cfg,
		zstd:    newEncoder(builders),
		pieces:  newEncoder(builders, zstd.WithSingleSegment(false)),
		slots:   make(chan struct{}, builders),
		signal:  make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
		streams: map[*Stream]struct{}{},
		deltas:  map[deltaKey]*delta{},
	}
	h.nodes.init(h)
	h.blocks.init(h)
	h.peersEnd = h.appendPiece(nil, []byte(peersEnd))
	// Changes that come in before the first snapshot is in place wait for mu.
	h.mu.Lock()
	h.latest, h.cancel = src.Subscribe(h.append)
	h.headSnap = h.latest
	h.mu.Unlock()
	go h.loop()
	return h
}

// Close ends the hub and all its streams.
func (h *Hub) Close() {
	h.cancel()
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	for s := range h.streams {
		s.wake()
	}
	h.mu.Unlock()
	close(h.stop)
	<-h.done
}

// Stats returns counts since the hub was made.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	n := len(h.streams)
	h.mu.Unlock()
	return Stats{
		Streams:   n,
		Published: h.stats.published.Load(),
		Full:      h.stats.full.Load(),
		FullBytes: h.stats.fullBytes.Load(),

		BlocksEncoded: h.stats.blocksEncoded.Load(),
		BlocksShared:  h.stats.blocksShared.Load(),

		Encoded: h.stats.encoded.Load(),
		Shared:  h.stats.shared.Load(),
		Lost:    h.stats.lost.Load(),
	}
}

// DERPMapChanged tells every stream the relay map anew.
func (h *Hub) DERPMapChanged() {
	h.mu.Lock()
	h.appendLocked(entry{derpMap: true})
	h.mu.Unlock()
}

// append takes a change set from the model.
func (h *Hub) append(cs tailnet.ChangeSet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.latest = cs.Snapshot
	h.appendLocked(entry{changes: cs.Changes})
}

func (h *Hub) appendLocked(e entry) {
	if len(h.log) == maxLog {
		h.trimLocked(h.base + maxLog/4)
	}
	h.log = append(h.log, e)
	h.poke()
}

// trimLocked drops the entries below number to. What deltas still hold of the
// old log stays valid, since they hold slices of the array left behind.
func (h *Hub) trimLocked(to uint64) {
	h.log = append(make([]entry, 0, maxLog/4), h.log[to-h.base:]...)
	h.base = to
	if h.head < to { // never published; those streams are lost
		h.head, h.headSnap = to, h.latest
	}
}

func (h *Hub) poke() {
	select {
	case h.signal <- struct{}{}:
	default:
	}
}

// loop publishes what was appended, at most once per Config.Coalesce, and not
// before most streams have taken the publication before and had as much time again:
// telling everybody takes no more than half of a busy server.
func (h *Hub) loop() {
	defer close(h.done)
	for {
		select {
		case <-h.signal:
		case <-h.stop:
			return
		}
		if !h.publish() {
			continue
		}
		if !h.pause(h.cfg.Coalesce) || !h.hold() || !h.pause(h.recovery()) {
			return
		}
		h.poke() // something may have been appended meanwhile
	}
}

// pause waits, and returns false when the hub is closed.
func (h *Hub) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-h.stop:
		return false
	}
}

// hold waits until most streams have taken what was published, but not for long. It
// returns false when the hub is closed.
func (h *Hub) hold() bool {
	t := time.NewTimer(maxHold)
	defer t.Stop()
	for h.lagging() {
		select {
		case <-h.signal:
		case <-t.C:
			return true
		case <-h.stop:
			return false
		}
	}
	return true
}

// lagging reports whether more than a few streams have not taken what was
// published.
func (h *Hub) lagging() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.behind > h.release
}

// recovery returns how long the next publication should still wait. It is not
// positive when streams took the last one quickly, or have not taken it yet.
func (h *Hub) recovery() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Until(h.told.Add(2 * min(h.delivery, maxHold)))
}

// publish moves the head to the end of the log and wakes the streams. It
// reports whether there was anything new.
func (h *Hub) publish() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := h.base + uint64(len(h.log))
	if h.head == end {
		return false
	}
	h.stats.published.Add(end - h.head)
	h.nodes.sweep(h.latest)
	h.blocks.sweep(time.Now())
	h.head, h.headSnap = end, h.latest
	h.told, h.delivery = time.Now(), 0
	h.behind = 0
	low := end
	clear(h.deltas)
	for s := range h.streams {
		if s.cursor < end {
			h.behind++
			s.wake()
		}
		low = min(low, max(s.cursor, h.base))
	}
	h.release = h.behind / 16
	if low-h.base > maxLog/4 {
		h.trimLocked(low)
	}
	return true
}

// Full returns one full map of the node with that ID, framed.
func (h *Hub) Full(ctx context.Context, id control.NodeID, o Options) ([]byte, error) {
	h.mu.Lock()
	snap, closed := h.latest, h.closed
	h.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	n := snap.Node(id)
	if n == nil {
		return nil, ErrNoNode
	}
	return h.full(ctx, snap, n, o, nil)
}
