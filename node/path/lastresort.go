package path

import (
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/blake2s"

	"github.com/ginnel/ginnel/node/path/probing"
	"github.com/ginnel/ginnel/wire/key"
)

// While there is neither a direct path nor an open relay connection, small packets also
// go to where the peer was last known to be. So two nodes that cannot reach any server
// find each other even if one of them has a disco key of which the other has not heard:
// the handshake of WireGuard authenticates them, and the new key follows through the
// tunnel.
const (
	lastResortAddrs = 6               // addresses at most
	lastResortSize  = initiationLen   // bytes at most
	lastResortBurst = 4               // packets to a peer at once
	lastResortPause = time.Second     // and one more after each pause
	maxStrangers    = 16              // handshakes of unknown origin kept
	strangerAge     = 5 * time.Second // for so long
	initiationType  = 1
	initiationLen   = 148
	responseType    = 2
	responseLen     = 92
	indexLen        = 4
	senderOffset    = 4 // of the sender's index in an initiation
	mac1Offset      = 116
	receiverOffset  = 8 // of the initiator's index in a response
)

// isInitiation reports whether a packet has the form of a handshake initiation.
func isInitiation(b []byte) bool {
	return len(b) == initiationLen && b[0] == initiationType && b[1]|b[2]|b[3] == 0
}

// isResponse reports whether a packet has the form of a handshake response.
func isResponse(b []byte) bool {
	return len(b) == responseLen && b[0] == responseType && b[1]|b[2]|b[3] == 0
}

// budget allows lastResortBurst events at once and one more after each lastResortPause.
type budget struct {
	full atomic.Int64 // when all is allowed again, Unix nanoseconds
}

// take reports whether an event is allowed now.
func (b *budget) take(now int64) bool {
	for {
		old := b.full.Load()
		next := max(old, now) + int64(lastResortPause)
		if next-now > lastResortBurst*int64(lastResortPause) {
			return false
		}
		if b.full.CompareAndSwap(old, next) {
			return true
		}
	}
}

// strangers remembers where handshake initiations came from that are from no bound
// address. Which peer sent one shows when WireGuard, having authenticated it, sends the
// response: that names the index of the initiation.
type strangers struct {
	mac1 atomic.Pointer[[blake2s.Size]byte] // key of the first MAC of messages to this node

	mu   sync.Mutex
	kept []stranger // oldest first
}

type stranger struct {
	index uint32
	addr  netip.AddrPort
	at    time.Time
}

// setKey tells this node's key.
func (s *strangers) setKey(k key.NodePublic) {
	raw := k.Raw32()
	sum := blake2s.Sum256(append([]byte("mac1----"), raw[:]...))
	s.mac1.Store(&sum)
}

// meant reports whether an initiation is for this node: its first MAC shows that the
// sender knows the node's key (WireGuard white paper, section 5.4.4).
func (s *strangers) meant(pkt []byte) bool {
	k := s.mac1.Load()
	if k == nil {
		return false
	}
	h, err := blake2s.New128(k[:])
	if err != nil {
		return false // not with a key of this length
	}
	h.Write(pkt[:mac1Offset])
	return subtle.ConstantTimeCompare(h.Sum(nil), pkt[mac1Offset:][:blake2s.Size128]) == 1
}

// note remembers an initiation, if it is for this node.
func (s *strangers) note(pkt []byte, addr netip.AddrPort) {
	if !s.meant(pkt) {
		return
	}
	n := stranger{binary.LittleEndian.Uint32(pkt[senderOffset:][:indexLen]), addr, time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) >= maxStrangers {
		s.kept = slices.Delete(s.kept, 0, 1)
	}
	s.kept = append(s.kept, n)
}

// take removes and returns the origins of the initiation that a response is for.
func (s *strangers) take(response []byte, now time.Time) (list []netip.AddrPort) {
	index := binary.LittleEndian.Uint32(response[receiverOffset:][:indexLen])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = slices.DeleteFunc(s.kept, func(n stranger) bool {
		if n.index == index && now.Sub(n.at) <= strangerAge {
			list = append(list, n.addr)
			return true
		}
		return now.Sub(n.at) > strangerAge
	})
	return list
}

// sendLastResort sends small packets to where p was last known to be, within its budget.
func (e *Engine) sendLastResort(now time.Time, p *peer, pkts [][]byte) {
	if e.opts.NoUDP {
		return
	}
	for _, b := range pkts {
		if len(b) <= lastResortSize && p.lastResort.take(now.UnixNano()) {
			pkt := slices.Clone(b)
			e.post(func() { e.lastResort(p, pkt) })
		}
	}
}

// lastResort runs on the loop.
func (e *Engine) lastResort(p *peer, pkt []byte) {
	now := time.Now()
	if r := p.route.Load(); p.gone || r.Trusted(now) {
		return
	}
	for _, addr := range lastKnown(p.machine.Candidates()) {
		if err := e.socket(addr).writeBatch([][]byte{pkt}, addr); err != nil {
			e.log.Debug("cannot send to a last known address", "peer", p.cfg.Name, "addr", addr, "error", err)
		}
	}
	if isInitiation(pkt) {
		e.tellLastResort(p)
	}
}

func (e *Engine) tellLastResort(p *peer) {
	if e.opts.OnLastResort != nil {
		e.notify.add(func() { e.opts.OnLastResort(p.key) })
	}
}

// answerStrangers sends a handshake response also to where its initiation came from, if
// that is no address that p is known by: p has moved, and cannot be told otherwise before
// it has our answer. The address becomes a candidate.
func (e *Engine) answerStrangers(now time.Time, p *peer, response []byte) {
	for _, addr := range e.strangers.take(response, now) {
		if err := e.socket(addr).writeBatch([][]byte{response}, addr); err != nil {
			continue
		}
		e.post(func() {
			e.drive(p, func(now time.Time, acts []probing.Action) []probing.Action {
				_, acts = p.machine.PingReceived(now, addr, newTxID(), acts) // as good as a ping
				return acts
			})
			e.tellLastResort(p)
		})
	}
}

// lastKnown returns the addresses that are likeliest to be the peer's, those first from
// which it was last heard.
func lastKnown(list []probing.Candidate) (addrs []netip.AddrPort) {
	heard := func(c probing.Candidate) time.Time {
		if c.Ponged.After(c.Heard) {
			return c.Ponged
		}
		return c.Heard
	}
	slices.SortStableFunc(list, func(a, b probing.Candidate) int {
		return heard(b).Compare(heard(a))
	})
	for _, c := range list[:min(len(list), lastResortAddrs)] {
		addrs = append(addrs, c.Addr)
	}
	return addrs
}
