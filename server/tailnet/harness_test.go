package tailnet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// fixture is a service with one user on a store in memory.
type fixture struct {
	*Service
	t     *testing.T
	store *brokenStore
	user  *User
}

// brokenStore is a MemoryStore that fails on demand and counts commits.
type brokenStore struct {
	MemoryStore
	mu      sync.Mutex
	err     error
	gate    chan struct{} // when not nil, a commit waits for a value
	commits int
}

func (b *brokenStore) Commit(ctx context.Context, batch *Batch) error {
	b.mu.Lock()
	b.commits++
	err, gate := b.err, b.gate
	b.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if err != nil {
		return err
	}
	return b.MemoryStore.Commit(ctx, batch)
}

func (b *brokenStore) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

var tester = Actor{Kind: ActorAdmin, Name: "test"}

func start(t *testing.T, o Options) *fixture {
	t.Helper()
	f := &fixture{t: t, store: &brokenStore{}}
	f.open(o)
	var err error
	if f.user, err = f.CreateUser(t.Context(), tester, DefaultTailnet, UserParams{LoginName: "anna"}); err != nil {
		t.Fatal(err)
	}
	return f
}

// open starts the service on the fixture's store.
func (f *fixture) open(o Options) {
	f.t.Helper()
	s, err := Open(context.Background(), f.store, o)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Service = s
	f.t.Cleanup(func() { s.Close() })
}

// authKey makes an auth key and returns its text.
func (f *fixture) authKey(p AuthKeyParams) (*AuthKey, string) {
	f.t.Helper()
	if p.UserID == 0 {
		p.UserID = f.user.ID
	}
	k, secret, err := f.CreateAuthKey(context.Background(), tester, p)
	if err != nil {
		f.t.Fatal(err)
	}
	return k, secret
}

// device is the keys of a machine.
type device struct {
	machine key.MachinePublic
	node    key.NodePublic
	host    string
}

func newDevice(host string) device {
	return device{key.NewMachine().Public(), key.NewNode().Public(), host}
}

func (d device) params() RegisterParams {
	return RegisterParams{Machine: d.machine, NodeKey: d.node, Cap: control.MinimumCapabilityVersion, Hostinfo: &control.Hostinfo{Hostname: d.host, OS: "linux"}}
}

// rotated is the device with its next node key.
func (d device) rotated() (device, RegisterParams) {
	old := d.node
	d.node = key.NewNode().Public()
	p := d.params()
	p.OldNodeKey = old
	return d, p
}

// join registers a device with an auth key and wants success.
func (f *fixture) join(d device, secret string) *Node {
	f.t.Helper()
	p := d.params()
	p.AuthKey = secret
	return f.mustRegister(p)
}

func (f *fixture) mustRegister(p RegisterParams) *Node {
	f.t.Helper()
	r, err := f.Register(context.Background(), p)
	if err != nil || r.Status != Registered {
		f.t.Fatalf("register: status %d, error %v", r.Status, err)
	}
	if r.Node == nil || r.User == nil {
		f.t.Fatalf("registered without node or user: %+v", r)
	}
	return r.Node
}

// wantStatus registers and wants another end than success.
func (f *fixture) wantStatus(p RegisterParams, want RegisterStatus) RegisterResult {
	f.t.Helper()
	r, err := f.Register(context.Background(), p)
	if err != nil || r.Status != want {
		f.t.Fatalf("register: status %d, error %v; want status %d", r.Status, err, want)
	}
	return r
}

// wantRefusal registers and wants an error.
func (f *fixture) wantRefusal(p RegisterParams, want error) {
	f.t.Helper()
	if r, err := f.Register(context.Background(), p); !errors.Is(err, want) {
		f.t.Fatalf("register: status %d, error %v; want %v", r.Status, err, want)
	}
}

// changes collects what is published.
type changes struct {
	mu   sync.Mutex
	list []Change
}

func (f *fixture) watch() *changes {
	c := &changes{}
	_, cancel := f.Subscribe(func(cs ChangeSet) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.list = append(c.list, cs.Changes...)
	})
	f.t.Cleanup(cancel)
	return c
}

// take returns and forgets what has been published.
func (c *changes) take() []Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.list
	c.list = nil
	return out
}

func describe(list []Change) (out []string) {
	for _, c := range list {
		out = append(out, fmt.Sprintf("%d:%s", c.Kind, c.Fields))
	}
	return out
}
