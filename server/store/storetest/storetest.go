// Package storetest is what every tailnet.Store must do: one suite for all of
// them. It tests no other package's rules.
package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Run runs the suite. open returns an empty store; reopen returns the same store
// as a server started anew would see it.
func Run(t *testing.T, open func(t *testing.T) tailnet.Store, reopen func(t *testing.T, s tailnet.Store) tailnet.Store) {
	for name, test := range map[string]func(*testing.T, *suite){
		"empty":         testEmpty,
		"round trip":    testRoundTrip,
		"replace":       testReplace,
		"delete":        testDelete,
		"order":         testOrder,
		"conflict":      testConflict,
		"all or none":   testAllOrNone,
		"audit":         testAudit,
		"audit pruning": testPruneAudit,
		"zero values":   testZeroValues,
		"online":        testOnline,
		"cancelled":     testCancelled,
		"many in batch": testMany,
	} {
		t.Run(name, func(t *testing.T) { test(t, &suite{t: t, store: open(t), reopen: reopen}) })
	}
}

type suite struct {
	t      *testing.T
	store  tailnet.Store
	reopen func(t *testing.T, s tailnet.Store) tailnet.Store
	seq    uint64
	counts tailnet.Counters
}

// commit commits a batch on top of those before.
func (s *suite) commit(ops []tailnet.Op, audit ...tailnet.AuditRecord) {
	s.t.Helper()
	b := &tailnet.Batch{Base: s.seq, Seq: s.seq + 1, Counters: s.counts, Ops: ops, Audit: audit}
	if err := s.store.Commit(context.Background(), b); err != nil {
		s.t.Fatalf("commit: %v", err)
	}
	s.seq++
}

// load reopens the store and loads everything.
func (s *suite) load() *tailnet.State {
	s.t.Helper()
	s.store = s.reopen(s.t, s.store)
	st, err := s.store.Load(context.Background())
	if err != nil {
		s.t.Fatalf("load: %v", err)
	}
	// The order of what is loaded does not matter.
	slices.SortFunc(st.Nodes, func(a, b *tailnet.Node) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(st.Users, func(a, b *tailnet.User) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(st.AuthKeys, func(a, b *tailnet.AuthKey) int { return cmp.Compare(a.ID, b.ID) })
	return st
}

func at(sec int64) time.Time { return time.Unix(sec, 123456000).UTC() }

// User returns a user with everything filled in.
func User(id control.UserID) *tailnet.User {
	return &tailnet.User{ID: id, TailnetID: tailnet.DefaultTailnet, LoginName: fmt.Sprintf("user%d@example.com", id),
		DisplayName: "Üser", ProfilePicURL: "https://example.com/x.png", Created: at(1)}
}

// AuthKey returns an auth key with everything filled in.
func AuthKey(id int64, user control.UserID) *tailnet.AuthKey {
	return &tailnet.AuthKey{ID: id, TailnetID: tailnet.DefaultTailnet, UserID: user, Hash: [32]byte{byte(id), 2, 3},
		Reusable: true, Ephemeral: true, Preauthorized: true, Tags: []string{"tag:a", "tag:b"}, Description: "it's \"quoted\"",
		Created: at(1), Expiry: at(2), Revoked: at(3), Uses: 4, LastUsed: at(5)}
}

// Node returns a node with everything filled in.
func Node(id control.NodeID, user control.UserID) *tailnet.Node {
	return &tailnet.Node{
		ID: id, StableID: control.StableNodeID(fmt.Sprintf("n%d", id)), TailnetID: tailnet.DefaultTailnet, UserID: user,
		Machine: key.NewMachine().Public(), Key: key.NewNode().Public(), Disco: key.NewDisco().Public(), LockKey: key.NewLock().Public(),
		KeySignature: []byte{0, 1, 255}, GivenName: fmt.Sprintf("node-%d", id), NameFixed: true,
		Hostinfo: &control.Hostinfo{Hostname: "host", OS: "linux", RequestTags: []string{"tag:a"},
			RoutableIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			NetInfo:     &control.NetInfo{PreferredDERP: 3, DERPLatency: map[string]float64{"3-v4": 0.5}}},
		Endpoints: []tailnet.Endpoint{{Addr: netip.MustParseAddrPort("192.0.2.1:7"), Type: control.EndpointSTUN},
			{Addr: netip.MustParseAddrPort("[2001:db8::1]:7"), Type: control.EndpointLocal}},
		HomeDERP: 3, IPv4: netip.AddrFrom4([4]byte{100, 64, byte(id >> 8), byte(id)}),
		IPv6: netip.AddrFrom16([16]byte{0xfd, 0x7a, 14: byte(id >> 8), 15: byte(id)}),
		Tags: []string{"tag:a"}, Ephemeral: true, Authorized: true, KeyExpiry: at(10), Created: at(11), LastSeen: at(12),
		Cap: 145, LockHead: "HEAD", AuthKeyID: 9,
	}
}

// compare compares models.
var compare = gocmp.Options{
	gocmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
	gocmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	gocmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	gocmp.Comparer(func(a, b key.MachinePublic) bool { return a == b }),
	gocmp.Comparer(func(a, b key.NodePublic) bool { return a == b }),
	gocmp.Comparer(func(a, b key.DiscoPublic) bool { return a == b }),
	gocmp.Comparer(func(a, b key.LockPublic) bool { return a == b }),
}

func (s *suite) equal(what string, got, want any) {
	s.t.Helper()
	if d := gocmp.Diff(want, got, compare); d != "" {
		s.t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func testEmpty(t *testing.T, s *suite) {
	st := s.load()
	if st.Seq != 0 || st.Counters != (tailnet.Counters{}) || len(st.Nodes)+len(st.Users)+len(st.AuthKeys) != 0 {
		t.Errorf("a new store holds %+v", st)
	}
}

func testRoundTrip(t *testing.T, s *suite) {
	u, k, n := User(1), AuthKey(2, 1), Node(3, 1)
	n.Online = true // in memory only
	s.counts = tailnet.Counters{Node: 3, User: 1, AuthKey: 2}
	s.commit([]tailnet.Op{{PutUser: u}, {PutAuthKey: k}, {PutNode: n}})
	st := s.load()
	if st.Seq != 1 || st.Counters != s.counts {
		t.Errorf("sequence number %d, counters %+v", st.Seq, st.Counters)
	}
	stored := *n
	stored.Online = false
	s.equal("users", st.Users, []*tailnet.User{u})
	s.equal("auth keys", st.AuthKeys, []*tailnet.AuthKey{k})
	s.equal("nodes", st.Nodes, []*tailnet.Node{&stored})
}

func testReplace(t *testing.T, s *suite) {
	u, k, n := User(1), AuthKey(1, 1), Node(1, 1)
	s.commit([]tailnet.Op{{PutUser: u}, {PutUser: User(2)}, {PutAuthKey: k}, {PutNode: n}})
	u2 := *u
	u2.LoginName, u2.DisplayName, u2.ProfilePicURL = "new", "New", ""
	k2 := *k
	k2.Uses, k2.Revoked, k2.LastUsed, k2.Expiry, k2.Description = 7, at(100), at(101), at(102), "x"
	n2 := *Node(1, 2)
	n2.TailnetID, n2.StableID, n2.Created = n.TailnetID, n.StableID, n.Created
	n2.GivenName, n2.NameFixed, n2.Endpoints, n2.HomeDERP, n2.Tags = "renamed", false, nil, 0, nil
	n2.Ephemeral, n2.Authorized, n2.KeyExpiry, n2.LastSeen, n2.Cap, n2.LockHead, n2.AuthKeyID = false, false, time.Time{}, at(99), 1, "", 0
	n2.Hostinfo, n2.KeySignature = &control.Hostinfo{Hostname: "other"}, nil
	s.commit([]tailnet.Op{{PutUser: &u2}, {PutAuthKey: &k2}, {PutNode: &n2}})
	st := s.load()
	s.equal("user", st.Users[0], &u2)
	s.equal("auth key", st.AuthKeys[0], &k2)
	s.equal("node", st.Nodes[0], &n2)
}

func testDelete(t *testing.T, s *suite) {
	s.commit([]tailnet.Op{{PutUser: User(1)}, {PutAuthKey: AuthKey(1, 1)}, {PutNode: Node(1, 1)}})
	// The user may go before what belongs to it: only the end of the batch counts.
	s.commit([]tailnet.Op{{DeleteUser: 1}, {DeleteAuthKey: 1}, {DeleteNode: 1}})
	s.commit([]tailnet.Op{{DeleteUser: 1}, {DeleteAuthKey: 1}, {DeleteNode: 1}}) // nothing there: no error
	if st := s.load(); len(st.Nodes)+len(st.Users)+len(st.AuthKeys) != 0 || st.Seq != 3 {
		t.Errorf("left over: %+v", st)
	}
}

// What is freed early in a batch may be taken later in it.
func testOrder(t *testing.T, s *suite) {
	first, second := Node(1, 1), Node(2, 1)
	second.GivenName, second.IPv4, second.IPv6, second.Key = first.GivenName, first.IPv4, first.IPv6, first.Key
	s.commit([]tailnet.Op{{PutUser: User(1)}, {PutNode: first}})
	s.commit([]tailnet.Op{{DeleteNode: 1}, {PutNode: second}})
	third := *second
	third.GivenName = "other"
	s.commit([]tailnet.Op{{PutNode: &third}, {PutNode: second}, {PutNode: &third}, {DeleteNode: 2}, {PutNode: first}})
	st := s.load()
	s.equal("nodes", st.Nodes, []*tailnet.Node{first})
}

func testConflict(t *testing.T, s *suite) {
	s.commit([]tailnet.Op{{PutUser: User(1)}})
	for _, base := range []uint64{0, 2} {
		b := &tailnet.Batch{Base: base, Seq: base + 1, Ops: []tailnet.Op{{PutUser: User(2)}}}
		if err := s.store.Commit(context.Background(), b); !errors.Is(err, tailnet.ErrConflict) {
			t.Errorf("commit on sequence number %d of 1: %v", base, err)
		}
	}
	if st := s.load(); len(st.Users) != 1 || st.Seq != 1 {
		t.Errorf("a conflicting commit wrote something: %+v", st)
	}
}

func testAllOrNone(t *testing.T, s *suite) {
	s.commit([]tailnet.Op{{PutUser: User(1)}})
	bad := Node(2, 77) // of no user
	b := &tailnet.Batch{Base: 1, Seq: 2, Ops: []tailnet.Op{{PutNode: Node(1, 1)}, {PutNode: bad}}}
	err := s.store.Commit(context.Background(), b)
	st := s.load()
	if err == nil {
		// A store that does not check references must have written all of it.
		if len(st.Nodes) != 2 || st.Seq != 2 {
			t.Errorf("an accepted batch left %d nodes and sequence number %d", len(st.Nodes), st.Seq)
		}
		return
	}
	if len(st.Nodes) != 0 || st.Seq != 1 {
		t.Errorf("a refused batch left %d nodes and sequence number %d", len(st.Nodes), st.Seq)
	}
	s.commit([]tailnet.Op{{PutNode: Node(1, 1)}}) // the store is well after a refusal
}

func testAudit(t *testing.T, s *suite) {
	record := func(seq uint64) tailnet.AuditRecord {
		return tailnet.AuditRecord{Seq: seq, TailnetID: tailnet.DefaultTailnet, At: at(int64(seq)), Action: "test",
			Actor: tailnet.Actor{Kind: tailnet.ActorAdmin, Name: "root"}, Target: fmt.Sprint("t", seq), Detail: `{"a":1}`}
	}
	for i := range uint64(5) {
		s.commit(nil, record(i+1))
	}
	s.load()
	for _, tt := range []struct {
		before uint64
		limit  int
		want   []uint64
	}{{0, 10, []uint64{5, 4, 3, 2, 1}}, {0, 2, []uint64{5, 4}}, {4, 2, []uint64{3, 2}}, {1, 10, nil}} {
		got, err := s.store.Audit(context.Background(), tailnet.DefaultTailnet, tt.before, tt.limit)
		if err != nil {
			t.Fatal(err)
		}
		var want []tailnet.AuditRecord
		for _, seq := range tt.want {
			want = append(want, record(seq))
		}
		s.equal(fmt.Sprintf("audit before %d, at most %d", tt.before, tt.limit), got, want)
	}
	if got, err := s.store.Audit(context.Background(), tailnet.DefaultTailnet+1, 0, 10); err != nil || len(got) != 0 {
		t.Errorf("audit of another tailnet: %v, %v", got, err)
	}
}

func testPruneAudit(t *testing.T, s *suite) {
	for i := range uint64(7) {
		s.commit(nil, tailnet.AuditRecord{Seq: i + 1, TailnetID: tailnet.DefaultTailnet, At: at(int64(i + 1)), Action: "test"})
	}
	for _, tt := range []struct {
		before  int64 // seconds
		limit   int
		removed int
		oldest  uint64
	}{{1, 10, 0, 1}, {5, 2, 2, 3}, {5, 10, 2, 5}, {5, 10, 0, 5}, {100, 2, 2, 7}, {100, 10, 1, 0}, {100, 10, 0, 0}} {
		removed, err := s.store.PruneAudit(context.Background(), at(tt.before), tt.limit)
		if err != nil {
			t.Fatal(err)
		}
		left, err := s.store.Audit(context.Background(), tailnet.DefaultTailnet, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		var oldest uint64
		if len(left) > 0 {
			oldest = left[len(left)-1].Seq
		}
		if removed != tt.removed || oldest != tt.oldest {
			t.Errorf("before %d, at most %d: removed %d, the oldest is %d; want %d and %d", tt.before, tt.limit, removed, oldest, tt.removed, tt.oldest)
		}
	}
	// The next command goes on as if nothing had happened.
	s.commit(nil, tailnet.AuditRecord{Seq: 8, TailnetID: tailnet.DefaultTailnet, At: at(8), Action: "test"})
}

func testZeroValues(t *testing.T, s *suite) {
	u := &tailnet.User{ID: 1, TailnetID: tailnet.DefaultTailnet, LoginName: "x"}
	k := &tailnet.AuthKey{ID: 1, TailnetID: tailnet.DefaultTailnet, UserID: 1}
	n := &tailnet.Node{ID: 1, TailnetID: tailnet.DefaultTailnet, UserID: 1, StableID: "n", GivenName: "n", Hostinfo: &control.Hostinfo{}}
	s.commit([]tailnet.Op{{PutUser: u}, {PutAuthKey: k}, {PutNode: n}})
	st := s.load()
	s.equal("user", st.Users, []*tailnet.User{u})
	s.equal("auth key", st.AuthKeys, []*tailnet.AuthKey{k})
	s.equal("node", st.Nodes, []*tailnet.Node{n})
}

func testCancelled(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := s.store.Commit(ctx, &tailnet.Batch{Seq: 1, Ops: []tailnet.Op{{PutUser: User(1)}}})
	st := s.load()
	if wrote := len(st.Users) == 1 && st.Seq == 1; wrote != (err == nil) {
		t.Errorf("error %v, but %d users and sequence number %d", err, len(st.Users), st.Seq)
	}
	s.seq = st.Seq
	s.commit([]tailnet.Op{{PutUser: User(2)}})
}

func testMany(t *testing.T, s *suite) {
	const many = 1000
	ops := []tailnet.Op{{PutUser: User(1)}}
	for i := range many {
		ops = append(ops, tailnet.Op{PutNode: Node(control.NodeID(i+1), 1)})
	}
	s.commit(ops)
	if st := s.load(); len(st.Nodes) != many {
		t.Errorf("%d nodes of %d", len(st.Nodes), many)
	}
}

// The note of who is online takes the place of the one before and is no commit.
func testOnline(t *testing.T, s *suite) {
	s.commit([]tailnet.Op{{PutUser: User(1)}, {PutNode: Node(1, 1)}})
	if st := s.load(); !st.Online.At.IsZero() || st.Online.Nodes != nil {
		t.Errorf("a note that nobody made: %+v", st.Online)
	}
	for _, o := range []tailnet.Online{
		{At: at(5), Nodes: []control.NodeID{1, 2, 300, 1 << 40}},
		{At: at(6), Nodes: []control.NodeID{7}},
		{At: at(7)},
	} {
		if err := s.store.NoteOnline(context.Background(), o); err != nil {
			t.Fatal(err)
		}
		st := s.load()
		s.equal("note", st.Online, o)
		if st.Seq != 1 {
			t.Errorf("sequence number %d", st.Seq)
		}
	}
	s.commit([]tailnet.Op{{PutUser: User(2)}})
}
