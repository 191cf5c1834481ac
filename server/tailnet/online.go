package tailnet

import (
	"context"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// DefaultOnlineEvery is how often it is noted who is online, and so how wrong
// LastSeen may be after a crash.
const DefaultOnlineEvery = time.Minute

// noteOnline keeps the store's note of who is online up to date, until the service
// ends. A server that ends without a word, and its nodes with it, so leaves behind
// when they were last there.
func (s *Service) noteOnline() {
	tick := time.NewTicker(s.o.OnlineEvery)
	defer tick.Stop()
	noted := 0
	for {
		select {
		case <-tick.C:
		case <-s.stop:
			return
		}
		o := Online{At: timestamp()}
		s.Snapshot().nodes.all(func(n *Node) bool {
			if n.Online {
				o.Nodes = append(o.Nodes, n.ID)
			}
			return true
		})
		if len(o.Nodes) == 0 && noted == 0 {
			continue
		}
		if err := s.store.NoteOnline(context.Background(), o); err != nil {
			s.log.Error("who is online is not stored", "nodes", len(o.Nodes), "err", err)
			continue
		}
		noted = len(o.Nodes)
	}
}

// takeOnline stores with the nodes what the last note of who was online says, before
// another takes its place.
func (s *Service) takeOnline(ctx context.Context, o Online) {
	seen := map[control.NodeID]time.Time{}
	for _, id := range o.Nodes {
		if n := s.Snapshot().Node(id); n != nil && n.LastSeen.Before(o.At) {
			seen[id] = o.At
		}
	}
	if len(seen) == 0 {
		return
	}
	if err := s.NoteSeen(ctx, seen); err != nil {
		s.log.Error("when nodes were last seen is not stored", "nodes", len(seen), "err", err)
	}
}
