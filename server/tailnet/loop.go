package tailnet

import (
	"context"
	"math"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// maxBatch bounds how many commands share one commit.
const maxBatch = 512

// request is a command on its way through the loop.
type request struct {
	run func(*tx) error
	// volatile, when set, is what to do in memory if the commit fails: nodes
	// come and go whether or not the disk is full.
	volatile func(*tx) error
	err      error
	done     chan struct{}
}

// tx is a command under way. It reads the newest state and collects what to
// write; nothing is applied unless the command returns no error. A command does
// not see its own writes.
type tx struct {
	*Snapshot
	s   *Service
	now time.Time

	nodes    []nodeWrite
	users    []userWrite
	authKeys []*AuthKey
	dropKeys []int64
	counters Counters
	audit    *AuditRecord
	detail   map[string]any // of audit
	// after runs once the command is durable and published.
	after func()
}

type nodeWrite struct {
	old, new *Node
	fields   Fields
	volatile bool // stays in memory
}

type userWrite struct {
	user *User
	gone bool
}

// do runs a command and waits until it is durable and published. When ctx ends
// first the command may still take effect.
func (s *Service) do(ctx context.Context, run func(*tx) error) error {
	return s.submit(ctx, &request{run: run, done: make(chan struct{})})
}

// run is do for commands with a result.
func run[T any](ctx context.Context, s *Service, fn func(*tx) (T, error)) (T, error) {
	var out T
	err := s.do(ctx, func(t *tx) (err error) {
		out, err = fn(t)
		return err
	})
	if err != nil {
		// The command may still be running and writing out.
		var none T
		return none, err
	}
	return out, nil
}

func (s *Service) submit(ctx context.Context, r *request) error {
	select {
	case <-s.stop:
		return ErrClosed
	default:
	}
	select {
	case s.requests <- r:
	case <-s.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		// The loop answers everything that it took; this one came too late.
		select {
		case <-r.done:
			return r.err
		default:
			return ErrClosed
		}
	}
}

// loop owns the model.
func (s *Service) loop() {
	defer close(s.done)
	expiry := time.NewTimer(0)
	defer expiry.Stop()
	prune := s.newPruneTimer()
	defer prune.Stop()
	batch := make([]*request, 0, maxBatch)
	for {
		expiry.Stop()
		if wait, ok := s.untilExpiry(); ok {
			expiry.Reset(wait)
		}
		batch = batch[:0]
		select {
		case r := <-s.requests:
			batch = s.gather(append(batch, r))
		case <-expiry.C:
		case <-prune.C:
			prune.Reset(s.pruneAudit())
		case <-s.stop:
			for batch = s.gather(batch); len(batch) > 0; batch = s.gather(batch[:0]) {
				s.runBatch(batch)
			}
			for _, t := range s.ephemeral {
				t.Stop()
			}
			return
		}
		s.tellExpired()
		if len(batch) > 0 {
			s.runBatch(batch)
		}
	}
}

// gather adds the requests that wait already.
func (s *Service) gather(batch []*request) []*request {
	for len(batch) < maxBatch {
		select {
		case r := <-s.requests:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// runBatch runs commands one after the other, commits what they wrote in one
// transaction, publishes it and answers.
func (s *Service) runBatch(batch []*request) {
	before := s.work.clone()
	s.decisions = s.decisions[:0]
	b := Batch{Base: s.work.seq}
	changes, after := s.runAll(batch, &b)
	if b.Seq != 0 {
		b.Counters = s.work.counters
		if err := s.commit(&b); err != nil {
			s.work = before
			s.decisions = nil
			for _, r := range batch {
				r.err = err
			}
			changes, after = s.runVolatile(batch)
		}
	}
	s.publish(s.work.clone(), changes)
	for _, c := range changes {
		s.noteEphemeral(c)
	}
	for _, d := range s.decisions {
		d.log(s.log)
	}
	for _, fn := range after {
		fn()
	}
	for _, r := range batch {
		close(r.done)
	}
}

func (s *Service) runAll(batch []*request, b *Batch) (changes []Change, after []func()) {
	for _, r := range batch {
		t := s.begin()
		if r.err = r.run(t); r.err != nil {
			continue
		}
		changes = s.apply(t, b, changes)
		if t.after != nil {
			after = append(after, t.after)
		}
	}
	return changes, after
}

// runVolatile does what must happen in memory although the commit failed.
func (s *Service) runVolatile(batch []*request) (changes []Change, after []func()) {
	var none Batch
	for _, r := range batch {
		if r.volatile == nil {
			continue
		}
		t := s.begin()
		if err := r.volatile(t); err == nil {
			changes = s.apply(t, &none, changes)
		}
	}
	return changes, nil
}

func (s *Service) begin() *tx {
	return &tx{Snapshot: s.work, s: s, now: timestamp(), counters: s.work.counters}
}

// commit writes a batch. A context of its own: a command that was begun is
// finished even when its caller has gone.
func (s *Service) commit(b *Batch) error {
	start := time.Now()
	err := s.store.Commit(context.Background(), b)
	s.stats.commitTime.Add(int64(time.Since(start)))
	s.stats.commits.Add(1)
	s.lastCommit.Store(&err)
	if err != nil {
		s.stats.commitErrors.Add(1)
		s.log.Error("commit failed", "commands", b.Seq-b.Base, "err", err)
	}
	return err
}

// apply puts what a command wrote into the working version and the batch.
func (s *Service) apply(t *tx, b *Batch, changes []Change) []Change {
	w := s.work
	w.counters = t.counters
	if t.durable() {
		w.seq++
		b.Seq = w.seq
		s.stats.commands.Add(1)
	}
	for _, u := range t.users {
		c := Change{Seq: w.seq, TailnetID: u.user.TailnetID, Kind: UserChanged, User: u.user, UserGone: u.gone}
		if u.gone {
			w.dropUser(u.user.ID)
			b.Ops = append(b.Ops, Op{DeleteUser: u.user.ID})
		} else {
			w.putUser(u.user)
			b.Ops = append(b.Ops, Op{PutUser: u.user})
		}
		changes = append(changes, c)
	}
	for _, k := range t.authKeys {
		w.putAuthKey(k)
		b.Ops = append(b.Ops, Op{PutAuthKey: k})
	}
	for _, id := range t.dropKeys {
		w.dropAuthKey(id)
		b.Ops = append(b.Ops, Op{DeleteAuthKey: id})
	}
	for _, n := range t.nodes {
		changes = append(changes, s.applyNode(n, b))
	}
	if t.audit != nil {
		t.audit.Seq = w.seq
		b.Audit = append(b.Audit, *t.audit)
		s.decisions = append(s.decisions, decision{*t.audit, t.detail})
	}
	return changes
}

func (s *Service) applyNode(n nodeWrite, b *Batch) Change {
	c := Change{Seq: s.work.seq, Fields: n.fields, Old: n.old, New: n.new}
	if n.old != nil && (n.new == nil || n.new.GivenName != n.old.GivenName) {
		s.names.free(n.old.TailnetID, n.old.GivenName)
	}
	if n.new == nil {
		c.Kind, c.TailnetID = NodeRemoved, n.old.TailnetID
		s.work.dropNode(n.old.ID)
		b.Ops = append(b.Ops, Op{DeleteNode: n.old.ID})
		return c
	}
	c.Kind, c.TailnetID = NodeChanged, n.new.TailnetID
	if n.old == nil {
		c.Kind = NodeAdded
	}
	s.work.putNode(n.new)
	if !n.volatile {
		b.Ops = append(b.Ops, Op{PutNode: n.new})
	}
	return c
}

// durable reports whether the command has anything to commit.
func (t *tx) durable() bool {
	for _, n := range t.nodes {
		if !n.volatile {
			return true
		}
	}
	return len(t.users) > 0 || len(t.authKeys) > 0 || len(t.dropKeys) > 0 || t.audit != nil
}

// addNode collects a new node.
func (t *tx) addNode(n *Node) { t.nodes = append(t.nodes, nodeWrite{new: n}) }

// setNode collects a change of a node; without a difference it does nothing. It
// reports whether there was one.
func (t *tx) setNode(old, n *Node) bool {
	fields := diff(old, n)
	if fields != 0 {
		t.nodes = append(t.nodes, nodeWrite{old: old, new: n, fields: fields})
	}
	return fields != 0
}

// setVolatile collects a change of a node that stays in memory.
func (t *tx) setVolatile(old, n *Node) {
	if fields := diff(old, n); fields != 0 {
		t.nodes = append(t.nodes, nodeWrite{old: old, new: n, fields: fields, volatile: true})
	}
}

// removeNode collects the removal of a node.
func (t *tx) removeNode(n *Node) { t.nodes = append(t.nodes, nodeWrite{old: n}) }

// node returns the node with that ID or ErrNodeUnknown.
func (t *tx) node(id control.NodeID) (*Node, error) {
	if n := t.Node(id); n != nil {
		return n, nil
	}
	return nil, ErrNodeUnknown
}

// untilExpiry returns how long it is until the next node key expires, if any does.
func (s *Service) untilExpiry() (wait time.Duration, ok bool) {
	s.work.byExpiry.from(s.afterExpired(), func(id control.NodeID) bool {
		wait, ok = max(0, time.Until(s.work.Node(id).KeyExpiry)), true
		return false
	})
	return wait, ok
}

// tellExpired publishes the key expiries that have passed.
func (s *Service) tellExpired() {
	now := timestamp()
	var changes []Change
	s.work.byExpiry.from(s.afterExpired(), func(id control.NodeID) bool {
		n := s.work.Node(id)
		if !n.Expired(now) {
			return false
		}
		changes = append(changes, Change{Seq: s.work.seq, TailnetID: n.TailnetID, Kind: NodeExpired, Old: n, New: n})
		return true
	})
	s.expiredTo = now
	if len(changes) > 0 {
		s.publish(s.work.clone(), changes)
	}
}

// afterExpired is the place in the expiry index behind everything told.
func (s *Service) afterExpired() expiryNode {
	return expiryNode{s.expiredTo, math.MaxInt64}
}
