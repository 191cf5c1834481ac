package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/envknob"
	"tailscale.com/tailcfg"
	"tailscale.com/tsnet"
)

// An official node runs in the process, with TCP/IP in userspace.
type official struct {
	*member
	dir  string
	url  string
	log  *testLog
	node *tsnet.Server
}

// newOfficial makes an official node that is not started. With an empty key its
// user has to log in.
func newOfficial(t *testing.T, url, key, name string) *official {
	t.Helper()
	dir, err := os.MkdirTemp("", "official-")
	if err != nil {
		t.Fatal(err)
	}
	o := &official{dir: dir, url: url, log: newLog(t, "official node "+name)}
	o.member = &member{t: t, name: name, steered: o}
	o.node = o.server(key)
	t.Cleanup(func() {
		o.node.Close()
		os.RemoveAll(dir)
	})
	return o
}

func (o *official) server(key string) *tsnet.Server {
	return &tsnet.Server{Dir: o.dir, Hostname: o.name, ControlURL: o.url, AuthKey: key, Logf: o.log.Logf, UserLogf: o.log.Logf}
}

// up waits until the node is up, and serves echoes on echoPort.
func (o *official) up() {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	if _, err := o.node.Up(ctx); err != nil {
		o.t.Fatalf("official node %s: %v", o.name, err)
	}
	o.takeAddresses()
	ln, err := o.node.Listen("tcp", fmt.Sprint(":", echoPort))
	if err != nil {
		o.t.Fatal(err)
	}
	go serveEcho(ln)
}

// start starts the node and does not wait for anything.
func (o *official) start() {
	o.t.Helper()
	if err := o.node.Start(); err != nil {
		o.t.Fatalf("official node %s: %v", o.name, err)
	}
}

// restart ends the node and starts it anew with what it stored.
func (o *official) restart() {
	o.t.Helper()
	o.node.Close()
	o.node = o.server("")
	o.start()
}

// joinOfficial starts an official node and waits until it is up.
func joinOfficial(t *testing.T, url, key, name string, kind pathKind) *official {
	t.Helper()
	o := newOfficial(t, url, key, name)
	if kind == relayed {
		onlyRelayed(t)
	}
	o.up()
	return o
}

// onlyRelayed keeps official nodes from finding any direct path until the test
// ends. (To have them open no UDP sockets lasts only until the network changes,
// when they open them anew.)
func onlyRelayed(t *testing.T) {
	envknob.Setenv("TS_DEBUG_NEVER_DIRECT_UDP", "true")
	t.Cleanup(func() { envknob.Setenv("TS_DEBUG_NEVER_DIRECT_UDP", "") })
}

// local returns what the node's command line talks to.
func (o *official) local() (*local.Client, error) { return o.node.LocalClient() }

// do makes a call to the node that must work.
func (o *official) do(what string, call func(context.Context, *local.Client) error) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	lc, err := o.local()
	if err == nil {
		err = call(ctx, lc)
	}
	if err != nil {
		o.t.Fatalf("official node %s: %s: %v", o.name, what, err)
	}
}

func (o *official) statusJSON() ([]byte, error) {
	lc, err := o.local()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(o.t.Context(), 10*time.Second)
	defer cancel()
	st, err := lc.Status(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(st)
}

func (o *official) ping(ip netip.Addr) (pathKind, error) {
	lc, err := o.local()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(o.t.Context(), 5*time.Second)
	defer cancel()
	res, err := lc.Ping(ctx, ip, tailcfg.PingDisco)
	switch {
	case err != nil:
		return "", err
	case res.Err != "":
		return "", errors.New(res.Err)
	case res.DERPRegionID != 0:
		return relayed, nil
	}
	return direct, nil
}

func (o *official) dial(ctx context.Context, addr string) (net.Conn, error) {
	return o.node.Dial(ctx, "tcp", addr)
}
