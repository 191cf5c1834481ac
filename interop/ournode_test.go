package interop

import (
	"bytes"
	"context"
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
)

// An ours is our node: the built daemon in userspace mode, so that several
// nodes share one machine.
type ours struct {
	*member
	socket string
	socks  string
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
	o := &ours{socket: filepath.Join(dir, "sock"), socks: freeAddr(t), done: make(chan struct{})}
	o.member = &member{t: t, name: name, steered: o}
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

// joinOurs starts our node and brings it up.
func joinOurs(t *testing.T, url, key, name string, flags ...string) *ours {
	t.Helper()
	o := startOurs(t, name, flags...)
	if _, err := o.cli("up", "--login-server", url, "--auth-key", key, "--hostname", name, "--timeout", patience.String()); err != nil {
		t.Fatal(err)
	}
	o.takeAddresses()
	return o
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

func (o *ours) statusJSON() ([]byte, error) {
	out, err := o.cli("status", "--json")
	return []byte(out), err
}

func (o *ours) ping(ip netip.Addr) (pathKind, error) {
	out, err := o.cli("ping", "-c", "1", "--until-direct=false", "--timeout", "3s", ip.String())
	switch {
	case err != nil:
		return "", err
	case strings.Contains(out, "DERP("):
		return relayed, nil
	}
	return direct, nil
}

// dial goes through the daemon's proxy.
func (o *ours) dial(ctx context.Context, addr string) (net.Conn, error) {
	d, err := proxy.FromURL(&url.URL{Scheme: "socks5", Host: o.socks}, proxy.Direct)
	if err != nil {
		return nil, err
	}
	return d.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
}

// lastPort is the port that freeAddr gave out last. Ports from there on lie below
// those that systems give to connections.
var lastPort = 20000

// freeAddr returns a TCP address on loopback that nobody uses, nor will by chance.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		lastPort++
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lastPort))
		if err == nil {
			ln.Close()
			return ln.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}
