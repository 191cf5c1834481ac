package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/proxy"

	"github.com/ginnel/ginnel/node/local/api"
)

// An ours is our node: the built daemon in userspace mode, so that several
// nodes share one machine.
type ours struct {
	t      *testing.T
	name   string
	socket string
	socks  string
	ip4    netip.Addr
	ip6    netip.Addr
	cmd    *exec.Cmd
	done   chan struct{}
}

// startOurs starts the daemon. What reaches its mesh address goes to the same
// port of this machine, where the echo service of the test listens.
func startOurs(t *testing.T, name string, flags ...string) *ours {
	t.Helper()
	dir, err := os.MkdirTemp("", "ours-")
	if err != nil {
		t.Fatal(err)
	}
	o := &ours{t: t, name: name, socket: filepath.Join(dir, "sock"), done: make(chan struct{})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.socks = ln.Addr().String()
	ln.Close()
	args := append([]string{"--statedir", dir, "--socket", o.socket, "--tun", "userspace-networking", "--socks5-server", o.socks}, flags...)
	o.cmd = exec.Command(program(t, "ginneld"), args...)
	l := newLog(t, "our node "+name)
	o.cmd.Stdout, o.cmd.Stderr = l, l
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { o.cmd.Wait(); close(o.done) }()
	t.Cleanup(func() {
		o.stop()
		os.RemoveAll(dir)
	})
	eventually(t, "our daemon answers", func() error { _, err := o.status(); return err })
	return o
}

// stop ends the daemon.
func (o *ours) stop() {
	o.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-o.done:
	case <-time.After(15 * time.Second):
		o.cmd.Process.Kill()
		<-o.done
		o.t.Errorf("%s did not end after SIGTERM", o.name)
	}
}

// cli runs the command line against the daemon.
func (o *ours) cli(args ...string) (string, error) {
	cmd := exec.Command(program(o.t, "ginnel"), append([]string{"--socket", o.socket}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("ginnel %s: %w\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String(), err
}

func (o *ours) status() (*api.Status, error) {
	out, err := o.cli("status", "--json")
	if err != nil {
		return nil, err
	}
	st := new(api.Status)
	return st, json.Unmarshal([]byte(out), st)
}

// joinOurs starts our node and brings it up.
func joinOurs(t *testing.T, url, key, name string, flags ...string) *ours {
	t.Helper()
	o := startOurs(t, name, flags...)
	if _, err := o.cli("up", "--login-server", url, "--auth-key", key, "--hostname", name, "--timeout", patience.String()); err != nil {
		t.Fatal(err)
	}
	st, err := o.status()
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range st.TailscaleIPs {
		if ip.Is4() {
			o.ip4 = ip
		} else {
			o.ip6 = ip
		}
	}
	if !o.ip4.IsValid() {
		t.Fatalf("our node %s is up without an address: %v", name, st.TailscaleIPs)
	}
	return o
}

// peer returns what the node knows of the peer with the address.
func (o *ours) peer(ip netip.Addr) (*api.PeerStatus, error) {
	st, err := o.status()
	if err != nil {
		return nil, err
	}
	for _, p := range st.Peer {
		for _, have := range p.TailscaleIPs {
			if have == ip {
				return p, nil
			}
		}
	}
	return nil, fmt.Errorf("%s knows no peer %v", o.name, ip)
}

// waitPing pings until the answer comes by the kind of path that is wanted.
func (o *ours) waitPing(ip netip.Addr, kind pathKind) {
	o.t.Helper()
	eventually(o.t, fmt.Sprintf("%s pings %v, %s", o.name, ip, kind), func() error {
		out, err := o.cli("ping", "-c", "1", "--until-direct=false", "--timeout", "3s", ip.String())
		if err != nil {
			return err
		}
		if isRelayed := strings.Contains(out, "DERP("); isRelayed != (kind == relayed) {
			return errors.New("other path: " + strings.TrimSpace(out))
		}
		return nil
	})
}

// echo moves bytes to the echo service at the address and back, through the
// daemon's proxy.
func (o *ours) echo(ip netip.Addr) {
	o.t.Helper()
	d, err := proxy.FromURL(&url.URL{Scheme: "socks5", Host: o.socks}, proxy.Direct)
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	conn, err := d.(proxy.ContextDialer).DialContext(ctx, "tcp", netip.AddrPortFrom(ip, echoPort).String())
	if err != nil {
		o.t.Fatalf("%s dials %v: %v", o.name, ip, err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	checkEcho(o.t, conn)
}

// echoOnLoopback serves what reaches our nodes' mesh addresses.
func echoOnLoopback(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", echoPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go serveEcho(ln)
}
