package ctl

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// errClosed is the error of everything on a closed Client.
var errClosed = errors.New("control client is closed")

// errSuperseded ends a job whose work is no longer wanted.
var errSuperseded = errors.New("no longer wanted")

// Options configures a Client.
type Options struct {
	ServerURL string
	Machine   key.MachinePrivate
	Identity  Identity // as stored; LockKey must be set
	Local     Local    // Hostinfo must be set

	// OnEvent is called for each Event, one at a time and in order. It must not
	// block and must not call the Client.
	OnEvent func(Event)

	// KeepKey stores a new node key, and the key that it is to replace (zero for a first
	// login), before the server hears of it. If this process ends before LoggedIn the next
	// one is to have it as Identity.NextNodeKey. May be nil.
	KeepKey func(old key.NodePublic, next key.NodePrivate)

	// DialContext makes the connections below. Nil means the system's way.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy chooses an HTTP proxy for a request. Nil means none.
	Proxy func(*http.Request) (*url.URL, error)
	// TLS has the authorities for the server's certificate. Nil means the
	// system's.
	TLS *tls.Config
	// Relays returns the relays that may be asked for the server's address when its name
	// does not resolve, nil for none. It may itself be nil.
	Relays func() *control.DERPMap
	// C2N answers the server's own requests. Nil means EchoC2N.
	C2N http.Handler
	// Ping pings a peer for the server. Nil means that such pings are refused.
	Ping   Pinger
	Logger *slog.Logger
}

// Client is the connection of a node to its coordination server, across all
// interruptions. Its methods may be called from any goroutine.
type Client struct {
	url       serverURL
	transport *transport
	pings     *pings
	log       *slog.Logger
	onEvent   func(Event)
	keepKey   func(old key.NodePublic, next key.NodePrivate)
	emitMu    sync.Mutex

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	calls  chan func() // run by the loop
	jobs   sync.WaitGroup
	looped chan struct{}

	localMu      sync.Mutex
	local        Local
	localGen     uint64
	localChanged chan struct{}

	linkMu sync.Mutex
	link   chan struct{} // closed and replaced when the network changes

	lastBrowseURL string // owned by the map stream

	// Owned by the loop.
	identity Identity
	loggedIn bool
	paused   bool
	auth     *job // the login in work, if any
	mapJob   *job // map stream
	updates  *job // lite updates

	postponed []func() // calls that came in while the loop waited
}

// job is a goroutine that the loop has started and can end.
type job struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// New returns a client that does nothing until Login. It fails only for a server
// URL that cannot be used.
func New(o Options) (*Client, error) {
	u, err := parseServerURL(o.ServerURL)
	if err != nil {
		return nil, err
	}
	if o.DialContext == nil {
		o.DialContext = (&net.Dialer{}).DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.C2N == nil {
		o.C2N = EchoC2N()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	d := &dialer{server: u, machine: o.Machine, dial: o.DialContext, proxy: o.Proxy, tls: o.TLS, relays: o.Relays}
	t := newTransport(d)
	c := &Client{
		url: u, transport: t, log: o.Logger, onEvent: o.OnEvent, keepKey: o.KeepKey,
		pings: &pings{
			transport: t, handler: o.C2N, ping: o.Ping, log: o.Logger, busy: make(chan struct{}, maxPingsAtOne),
			http: &http.Client{Transport: &http.Transport{
				DialContext: o.DialContext, TLSClientConfig: o.TLS.Clone(), Proxy: o.Proxy, DisableKeepAlives: true,
			}},
		},
		ctx: ctx, cancel: cancel, calls: make(chan func()), looped: make(chan struct{}),
		local: o.Local, localChanged: make(chan struct{}), link: make(chan struct{}),
		identity: o.Identity,
	}
	go c.loop()
	return c, nil
}

// ServerURL returns the URL in use, without a trailing slash.
func (c *Client) ServerURL() string { return c.url.base }

// loop owns the jobs: all calls run here, one after the other.
func (c *Client) loop() {
	defer close(c.looped)
	for {
		select {
		case f := <-c.calls:
			f()
		case <-c.ctx.Done():
			return
		}
		for len(c.postponed) > 0 {
			f := c.postponed[0]
			c.postponed = c.postponed[1:]
			f()
		}
	}
}

// do has f run by the loop, without waiting for it to finish.
func (c *Client) do(f func()) bool {
	select {
	case c.calls <- f:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// emit reports an event, unless the client is closed.
func (c *Client) emit(e Event) {
	c.emitMu.Lock()
	defer c.emitMu.Unlock()
	if c.onEvent != nil && c.ctx.Err() == nil {
		c.onEvent(e)
	}
}

// start runs f as a job.
func (c *Client) start(f func(ctx context.Context)) *job {
	ctx, cancel := context.WithCancelCause(c.ctx)
	j := &job{cancel: cancel, done: make(chan struct{})}
	c.jobs.Go(func() {
		defer close(j.done)
		defer cancel(nil)
		f(ctx)
	})
	return j
}

// Login starts to log in; a login that is under way is given up. The outcome
// comes as LoginURL, LoggedIn and LoginFailed events. A map stream that works
// goes on until the login has succeeded.
func (c *Client) Login(o LoginOptions) { c.do(func() { c.startLogin(o) }) }

// registerAgain logs in with the present key because the server seems to have
// forgotten the node.
func (c *Client) registerAgain() {
	if c.auth == nil && c.loggedIn {
		c.startLogin(LoginOptions{Patient: true})
	}
}

// startLogin runs on the loop.
func (c *Client) startLogin(o LoginOptions) {
	old := c.auth
	if old != nil {
		old.cancel(errSuperseded)
	}
	l := &login{client: c, options: o, identity: c.identity, begun: c.identity.NextNodeKey}
	var j *job
	j = c.start(func(ctx context.Context) {
		if old != nil {
			<-old.done
		}
		done, err := l.run(ctx)
		if ctx.Err() != nil {
			return
		}
		c.do(func() { c.endLogin(j, o.AuthKey != "", done, err) })
	})
	c.auth = j
}

// endLogin takes the outcome of the login j. One by an auth key may have made another
// node of this one, even with the same node key. It runs on the loop.
func (c *Client) endLogin(j *job, byAuthKey bool, done *LoggedIn, err error) {
	if c.auth != j {
		return // given up meanwhile
	}
	c.auth = nil
	if err != nil {
		c.emit(LoginFailed{Err: err, Final: true})
		return
	}
	same := c.loggedIn && done.Identity.NodeKey.Equal(c.identity.NodeKey)
	c.identity = done.Identity
	c.loggedIn = true
	c.emit(*done)
	if !same || byAuthKey {
		c.stopSession()
	}
	c.startSession()
}

// startSession brings up what is to run while logged in and not paused. It runs
// on the loop.
func (c *Client) startSession() {
	if !c.loggedIn || c.paused {
		return
	}
	nodeKey := c.identity.NodeKey.Public()
	if c.mapJob == nil {
		c.mapJob = c.start(func(ctx context.Context) { c.poll(ctx, nodeKey) })
	}
	if c.updates == nil {
		c.updates = c.start(func(ctx context.Context) { c.update(ctx, nodeKey) })
	}
}

// stopSession ends the map stream and the updates. It runs on the loop.
func (c *Client) stopSession() {
	for _, j := range []*job{c.mapJob, c.updates} {
		if j != nil {
			j.cancel(errSuperseded)
		}
	}
	c.waitFor(c.mapJob)
	c.waitFor(c.updates)
	c.mapJob, c.updates = nil, nil
}

// waitFor waits until the job has ended, running the calls it makes meanwhile.
func (c *Client) waitFor(j *job) {
	if j == nil {
		return
	}
	for {
		select {
		case <-j.done:
			return
		case f := <-c.calls:
			c.postponed = append(c.postponed, f) // after the present call
		}
	}
}

// SetPaused stops or resumes the map stream and the updates, as wanted down and
// up. A login goes on.
func (c *Client) SetPaused(paused bool) {
	c.do(func() {
		c.paused = paused
		if paused {
			c.stopSession()
			return
		}
		c.startSession()
	})
}

// LinkChanged says that the network below has changed: the connection is made
// anew and pauses between attempts end.
func (c *Client) LinkChanged() {
	c.transport.drop()
	c.wake()
}

// CheckLink says that the network below has changed in a way that connections
// ought to survive: the present one is kept if it answers, and pauses between
// attempts end.
func (c *Client) CheckLink() {
	c.do(func() { c.start(c.transport.check) })
	c.wake()
}

// wake ends the pauses between attempts.
func (c *Client) wake() {
	c.linkMu.Lock()
	defer c.linkMu.Unlock()
	close(c.link)
	c.link = make(chan struct{})
}

// linkWake returns a channel that is closed at the next LinkChanged.
func (c *Client) linkWake() <-chan struct{} {
	c.linkMu.Lock()
	defer c.linkMu.Unlock()
	return c.link
}

// Logout ends everything, tells the server that the node is leaving, and forgets
// the node keys. When the server could not be told the error says why.
func (c *Client) Logout(ctx context.Context) error {
	result := make(chan error, 1)
	ok := c.do(func() {
		if c.auth != nil {
			c.auth.cancel(errSuperseded)
			c.auth = nil
		}
		c.stopSession()
		id := c.identity
		c.loggedIn = false
		c.identity = Identity{LockKey: id.LockKey}
		c.transport.dialer.plan.Store(nil)
		if id.NodeKey.IsZero() {
			result <- nil
			return
		}
		c.start(func(jobCtx context.Context) {
			stop := context.AfterFunc(jobCtx, func() { c.transport.drop() })
			defer stop()
			result <- c.transport.logout(ctx, id, c.localState().Hostinfo)
		})
	})
	if !ok {
		return errClosed
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.ctx.Done():
		return errClosed
	}
}

// Close ends the client. No event is reported after it returns.
func (c *Client) Close() {
	c.cancel(errClosed)
	c.transport.close()
	<-c.looped
	c.jobs.Wait()
	c.pings.wg.Wait()
}
