//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// page is what the web server on the second node says.
const page = "Hello from birch, over the mesh.\n"

// A demo is one running show.
type demo struct {
	bin, dir string
	tun      bool
	net      network
	died     chan *process // receives programs that end before their time

	procs    []*process
	closers  []func()
	url      string // of the server
	adminArg []string
	authKey  string
	pageURL  string
	nodes    []*node
}

// A node is one ginneld.
type node struct {
	name   string
	place  place
	socket string
	ip     string // its mesh address
	socks  string // proxies' addresses, empty with a TUN device
	http   string
}

func newDemo(bin string, tun bool) (*demo, error) {
	bin, err := programs(bin)
	if err != nil {
		return nil, err
	}
	if tun && os.Geteuid() != 0 {
		return nil, fmt.Errorf("real TUN devices and namespaces need root; run it with sudo, or `make demo` for userspace mode")
	}
	d := &demo{bin: bin, tun: tun, died: make(chan *process, 8)}
	if d.dir, err = os.MkdirTemp("", "ginnel-demo-"); err != nil {
		return nil, err
	}
	stopJanitor, err := startJanitor(d.dir)
	if err != nil {
		os.RemoveAll(d.dir)
		return nil, err
	}
	d.closers = append(d.closers, stopJanitor)
	return d, nil
}

// close stops everything, last started first, and removes the folder. It may be
// called again.
func (d *demo) close() {
	for i := len(d.procs) - 1; i >= 0; i-- {
		d.procs[i].stop()
	}
	for i := len(d.closers) - 1; i >= 0; i-- {
		d.closers[i]()
	}
	d.procs, d.closers = nil, nil
	os.RemoveAll(d.dir)
}

// build starts and checks one thing after the other.
func (d *demo) build(ctx context.Context) error {
	var err error
	if d.tun {
		d.net, err = newNamespaces(d)
	} else {
		d.net, err = newLoopback()
	}
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		d.startServer, d.createKey, d.startNodes, d.checkPing, d.checkPage,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func ok(what, format string, args ...any) {
	fmt.Printf("  [ok] %-10s %s\n", what, fmt.Sprintf(format, args...))
}

func (d *demo) startServer(ctx context.Context) error {
	at := d.net.server()
	port, err := at.FreePort()
	if err != nil {
		return err
	}
	stun, err := at.FreePort()
	if err != nil {
		return err
	}
	d.url = "http://" + net.JoinHostPort(at.addr, port)
	data := filepath.Join(d.dir, "server")
	d.adminArg = []string{"--data-dir", data}
	p, err := d.start(at, "server", "ginnel-server", "--data-dir", data,
		"--listen", ":"+port, "--stun", ":"+stun, "--url", d.url)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: at.Dial}, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	err = d.until(ctx, p, func() error {
		resp, err := client.Get(d.url + "/healthz")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s/healthz says %s", d.url, resp.Status)
		}
		return nil
	})
	if err != nil {
		return err
	}
	ok("server", "%s, with relay and STUN", d.url)
	return nil
}

// authKeyText finds the key in what `ginnel-server authkeys create` prints.
var authKeyText = regexp.MustCompile(`gkey-auth-[0-9]+-[a-z2-7]+`)

func (d *demo) createKey(ctx context.Context) error {
	args := append([]string{"authkeys", "create", "--reusable"}, d.adminArg...)
	out, err := d.output(ctx, d.net.server(), "ginnel-server", args...)
	if err != nil {
		return err
	}
	if d.authKey = authKeyText.FindString(out); d.authKey == "" {
		return fmt.Errorf("`ginnel-server authkeys create` printed no auth key:\n%s", out)
	}
	ok("auth key", "%s… (reusable)", d.authKey[:16])
	return nil
}

func (d *demo) startNodes(ctx context.Context) error {
	for i, name := range []string{"apple", "birch"} {
		n := &node{name: name, place: d.net.node(i), socket: filepath.Join(d.dir, name+".sock")}
		if err := d.startNode(ctx, n); err != nil {
			return err
		}
		d.nodes = append(d.nodes, n)
	}
	return nil
}

func (d *demo) startNode(ctx context.Context, n *node) error {
	args := []string{"--statedir", filepath.Join(d.dir, n.name), "--socket", n.socket}
	if d.tun {
		args = append(args, "--tun", "ginnel0")
	} else {
		for _, addr := range []*string{&n.socks, &n.http} {
			port, err := n.place.FreePort()
			if err != nil {
				return err
			}
			*addr = net.JoinHostPort("127.0.0.1", port)
		}
		args = append(args, "--tun", "userspace-networking",
			"--socks5-server", n.socks, "--outbound-http-proxy-listen", n.http)
	}
	p, err := d.start(n.place, n.name, "ginneld", args...)
	if err != nil {
		return err
	}
	if err := d.until(ctx, p, func() error { _, err := os.Stat(n.socket); return err }); err != nil {
		return err
	}
	began := time.Now()
	if _, err := d.ginnel(ctx, n, "up", "--login-server", d.url, "--auth-key", d.authKey, "--hostname", n.name); err != nil {
		return err
	}
	out, err := d.ginnel(ctx, n, "ip", "-4")
	if err != nil {
		return err
	}
	n.ip = strings.TrimSpace(out)
	ok("node", "%s is %s, up after %v", n.name, n.ip, time.Since(began).Round(time.Millisecond))
	return nil
}

// ginnel runs the command line against a node.
func (d *demo) ginnel(ctx context.Context, n *node, args ...string) (string, error) {
	return d.output(ctx, n.place, "ginnel", append([]string{"--socket", n.socket}, args...)...)
}

// checkPing pings each way, again until there is an answer: a node that has just
// joined may not know its peer yet.
func (d *demo) checkPing(ctx context.Context) error {
	for i, from := range d.nodes {
		to := d.nodes[1-i]
		for {
			out, err := d.ginnel(ctx, from, "ping", "-c", "1", "--until-direct=false", to.ip)
			if err == nil {
				ok("ping", "%s: %s", from.name, strings.TrimSpace(out))
				break
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(pollInterval):
			}
		}
	}
	return nil
}

// printHints says what a visitor can do now, in commands that work as they are.
func (d *demo) printHints() {
	a, b := d.nodes[0], d.nodes[1]
	prog := func(n string) string { return filepath.Join(d.bin, n) }
	cli := a.place.prefix + prog("ginnel") + " --socket " + a.socket
	admin := d.net.server().prefix + prog("ginnel-server") + " "
	data := " --data-dir " + filepath.Join(d.dir, "server")
	asRoot := ""
	if d.tun {
		asRoot = ", as root"
	}
	fmt.Printf("\nLook around from another terminal%s:\n\n", asRoot)
	fmt.Println("  " + cli + " status")
	fmt.Println("  " + cli + " ping " + b.name)
	if a.http != "" {
		fmt.Printf("  curl -x http://%s %s\n", a.http, d.pageURL)
	} else {
		fmt.Printf("  %scurl %s\n", a.place.prefix, d.pageURL)
	}
	fmt.Println("  " + admin + "nodes list" + data)
	fmt.Println("  tail -f " + filepath.Join(d.dir, "*.log"))

	visitor := d.net.visitor().prefix
	socket := filepath.Join(d.dir, "cherry.sock")
	device := "--tun userspace-networking --state mem:"
	if d.tun {
		device = "--tun ginnel0 --statedir " + filepath.Join(d.dir, "cherry")
	}
	join := fmt.Sprintf("up --login-server %s --auth-key %s", d.url, d.authKey)
	fmt.Printf("\nJoin a third node:\n\n")
	fmt.Printf("  %s%s %s --socket %s &\n", visitor, prog("ginneld"), device, socket)
	fmt.Printf("  %s%s --socket %s %s --hostname cherry\n", visitor, prog("ginnel"), socket, join)
	if !d.tun {
		fmt.Printf("\nor from another machine that reaches %s and runs ginneld:\n\n", d.net.server().addr)
		fmt.Printf("  ginnel %s\n", join)
	}
}
