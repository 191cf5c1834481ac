package filter

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/ginnel/ginnel/internal/packet"
)

// Size of the flow table: flowSets*flowWays flows at most.
const (
	flowSets = 512
	flowWays = 8
)

// flowKey names a flow from the side of the node: protocol, ports, addresses.
type flowKey [1 + 2 + 2 + 16 + 16]byte

func makeFlowKey(proto packet.Proto, local netip.Addr, localPort uint16, remote netip.Addr, remotePort uint16) (k flowKey) {
	k[0] = byte(proto)
	binary.BigEndian.PutUint16(k[1:], localPort)
	binary.BigEndian.PutUint16(k[3:], remotePort)
	l, r := local.As16(), remote.As16()
	copy(k[5:], l[:])
	copy(k[21:], r[:])
	return k
}

// flowTable remembers which UDP and SCTP flows this node opened, so that their
// answers may come in. It is bounded: when the set that a flow falls into is
// full, the flow that was used longest ago is forgotten. Looking up and renewing
// a known flow takes no lock and writes nothing shared unless other flows came
// in between.
type flowTable struct {
	seed maphash.Seed
	sets [flowSets]flowSet
}

type flowSet struct {
	tags  [flowWays]atomic.Uint32 // upper half of the hash, 0 for empty
	flows [flowWays]atomic.Pointer[flow]
	now   atomic.Uint32 // counts insertions; the clock of "longest ago"
	mu    sync.Mutex    // held to insert
}

type flow struct {
	key  flowKey
	used atomic.Uint32
}

func newFlowTable() *flowTable { return &flowTable{seed: maphash.MakeSeed()} }

func (t *flowTable) locate(k *flowKey) (*flowSet, uint32) {
	h := maphash.Bytes(t.seed, k[:])
	return &t.sets[h%flowSets], uint32(h>>32) | 1
}

// find returns the flow k and marks it as used.
func (s *flowSet) find(k *flowKey, tag uint32) *flow {
	for i := range s.tags {
		if s.tags[i].Load() != tag {
			continue
		}
		if f := s.flows[i].Load(); f != nil && f.key == *k {
			if now := s.now.Load(); f.used.Load() != now {
				f.used.Store(now)
			}
			return f
		}
	}
	return nil
}

// has reports whether the flow is known.
func (t *flowTable) has(k *flowKey) bool {
	s, tag := t.locate(k)
	return s.find(k, tag) != nil
}

// add remembers the flow. It allocates only for a new one.
func (t *flowTable) add(k *flowKey) {
	s, tag := t.locate(k)
	if s.find(k, tag) != nil {
		return
	}
	s.insert(k, tag)
}

func (s *flowSet) insert(k *flowKey, tag uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(k, tag) != nil {
		return
	}
	now := s.now.Add(1)
	victim, age := 0, uint32(0)
	for i := range s.flows {
		f := s.flows[i].Load()
		if f == nil {
			victim = i
			break
		}
		if a := now - f.used.Load(); a >= age {
			victim, age = i, a
		}
	}
	f := &flow{key: *k}
	f.used.Store(now)
	s.flows[victim].Store(f)
	s.tags[victim].Store(tag)
}

// clear forgets every flow.
func (t *flowTable) clear() {
	for i := range t.sets {
		s := &t.sets[i]
		s.mu.Lock()
		for j := range s.flows {
			s.tags[j].Store(0)
			s.flows[j].Store(nil)
		}
		s.mu.Unlock()
	}
}
