//go:build linux

package e2e

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/ginnel/ginnel/e2e/lab"
)

var loginLink = regexp.MustCompile(`http://10\.9\.0\.1:8080/\S+`)

// startUp runs `ginnel up` without a key in the background and returns it with
// the login link that it shows.
func startUp(t *testing.T, n *lan, nd *node) (up *lab.Process, link string) {
	t.Helper()
	up = nd.host.Start(nil, program("ginnel"), "--socket", nd.socket, "up", "--login-server", n.server.url, "--hostname", nd.host.Name, "--qr")
	lab.Eventually(t, patience, "a login link is shown", func() error {
		if link = loginLink.FindString(up.Log()); link == "" {
			return fmt.Errorf("not yet:\n%s", up.Log())
		}
		return nil
	})
	return up, link
}

func TestInteractiveLogin(t *testing.T) {
	n := newLAN(t)
	a := startNode(t, n.lab, n.host("a", "11"))
	up, link := startUp(t, n, a)
	expectWords(t, up.Log(), "To authenticate, visit:", "█|▄|##")
	n.server.mustAdmin("nodes", "approve", link)
	waitEnd(t, up, 0)
	expectWords(t, up.Log(), "Success.")
	a.waitState("Running")
	a.learnAddrs()
	b := join(t, n.lab, n.server, n.host("b", "12"), n.key)
	b.waitReach(a)

	// Logged out, the same machine logs in again, and is not a second one.
	a.mustCLI("logout")
	a.waitState("NeedsLogin")
	up, link = startUp(t, n, a)
	n.server.mustAdmin("nodes", "register", link)
	waitEnd(t, up, 0)
	a.waitState("Running")
	if list := n.server.nodes(); len(list) != 2 {
		t.Errorf("the server lists %d nodes, want 2: %v", len(list), list)
	}
}

func TestLoginDenied(t *testing.T) {
	n := newLAN(t)
	a := startNode(t, n.lab, n.host("a", "11"))
	up, link := startUp(t, n, a)
	n.server.mustAdmin("nodes", "deny", link)
	waitEnd(t, up, 1)
	expectWords(t, up.Log(), "denied|refused|rejected")
	if list := n.server.nodes(); len(list) != 0 {
		t.Errorf("a denied node is listed: %v", list)
	}
}

// TestApproval joins a server where new machines wait for an administrator.
func TestApproval(t *testing.T) {
	l := lab.New(t)
	sw := l.Switch("lan")
	host := l.Host("server")
	host.Plug(sw, "10.9.0.1/24")
	s := startServer(t, l, host, "10.9.0.1", "--require-approval")
	n := &lan{lab: l, sw: sw, server: s, key: s.authKey("--reusable", "--needs-approval")}
	a := startNode(t, l, n.host("a", "11"))
	up := a.host.Start(nil, program("ginnel"), "--socket", a.socket, "up", "--login-server", s.url, "--auth-key", n.key, "--hostname", "a")
	a.waitState("NeedsMachineAuth")
	s.mustAdmin("nodes", "approve", "a")
	waitEnd(t, up, 0)
	a.waitState("Running")
}

// waitEnd waits for a program to end with the code.
func waitEnd(t *testing.T, p *lab.Process, code int) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatalf("%s is still running after %v:\n%s", p.Name, patience, p.Log())
	}
	if got := p.ExitCode(); got != code {
		t.Fatalf("%s ended with code %d, want %d:\n%s", p.Name, got, code, p.Log())
	}
}
