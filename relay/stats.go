package relay

import (
	"sync/atomic"

	"github.com/ginnel/ginnel/relay/internal/outbox"
)

// dropReason says why a packet was dropped: wire document relay, section 7.5.
type dropReason uint8

const (
	dropUnknown dropReason = iota
	dropUnknownForward
	dropGone
	dropHead
	dropWriteError
	dropReasons
)

// String is the metric label.
func (r dropReason) String() string {
	return [dropReasons]string{"unknown_dest", "unknown_dest_on_fwd", "gone_disconnected", "queue_head", "write_error"}[r]
}

// kindNames are the metric labels of the packet classes.
var kindNames = [...]string{outbox.Data: "other", outbox.Disco: "disco"}

// classCount counts packets of a class and their data bytes.
type classCount struct{ packets, bytes atomic.Int64 }

// stats are the counters of a Server. The packet path adds to them once per batch.
type stats struct {
	accepts, refused, failed, webSockets            atomic.Int64
	conns, homeConns, notIdealConns                 atomic.Int64
	dupConnsTotal                                   atomic.Int64
	homeMovesIn, homeMovesOut                       atomic.Int64
	packetsSent, bytesSent                          atomic.Int64
	received                                        [2]classCount
	dropped                                         [dropReasons][2]classCount
	forwardedIn, forwardedOut                       atomic.Int64
	unknownFrames, gotPing, sentPong, writeTimeouts atomic.Int64
	goneDisconnected, goneNotHere                   atomic.Int64
	rateWaits                                       atomic.Int64
	dupConnsClosed                                  atomic.Int64
	rtt                                             [rttBuckets]atomic.Int64
}

// drop counts dropped packets and their data bytes.
func (s *stats) drop(r dropReason, class outbox.Class, packets, bytes int) {
	s.dropped[r][class].packets.Add(int64(packets))
	s.dropped[r][class].bytes.Add(int64(bytes))
}

// lost counts what an outbox held when it ended.
func (s *stats) lost(r dropReason, lost outbox.Lost) {
	for class, n := range lost {
		if n.Frames > 0 {
			s.drop(r, outbox.Class(class), n.Frames, n.Bytes-n.Frames*packetOverhead)
		}
	}
}

// readStats gathers what one reader takes in during a batch.
type readStats [2]struct{ packets, bytes int }

func (r *readStats) add(class outbox.Class, packets, bytes int) {
	r[class].packets += packets
	r[class].bytes += bytes
}

// flush moves the counts into s.
func (r *readStats) flush(s *stats) {
	for class := range r {
		if r[class].packets > 0 {
			s.received[class].packets.Add(int64(r[class].packets))
			s.received[class].bytes.Add(int64(r[class].bytes))
		}
	}
	*r = readStats{}
}
