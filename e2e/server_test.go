//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/ginnel/ginnel/e2e/lab"
)

// patience bounds every wait for something that normally takes a moment.
const patience = 60 * time.Second

// A server is a running ginnel-server, with its embedded relay.
type server struct {
	t    testing.TB
	host *lab.Host
	dir  string
	url  string
	args []string
	proc *lab.Process
}

// startServer runs a server that is reached under the host's numeric address.
func startServer(t testing.TB, l *lab.Lab, host *lab.Host, addr string, flags ...string) *server {
	t.Helper()
	s := &server{t: t, host: host, dir: filepath.Join(l.Dir(), host.Name+"-data")}
	s.url = "http://" + net.JoinHostPort(addr, "8080")
	s.args = append([]string{program("ginnel-server"), "--data-dir", s.dir, "--listen", ":8080", "--url", s.url}, flags...)
	s.start()
	return s
}

// start starts the program, again after a kill, and waits until it serves.
func (s *server) start() {
	s.t.Helper()
	s.proc = s.host.Start(nil, s.args...)
	lab.Eventually(s.t, patience, "server is healthy", func() error {
		select {
		case <-s.proc.Done():
			s.t.Fatalf("the server ended with code %d", s.proc.ExitCode())
		default:
		}
		return s.healthy()
	})
}

func (s *server) healthy() error {
	_, err := s.get("/healthz")
	return err
}

// get fetches a path from the server, from its own host.
func (s *server) get(path string) (*http.Response, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return s.host.DialContext(ctx, network, addr)
		}, DisableKeepAlives: true,
	}}
	resp, err := client.Get(s.url + path)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp, fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return resp, nil
}

// admin runs an administrator's command against the server.
func (s *server) admin(args ...string) (string, error) {
	return s.host.Output(append(append([]string{program("ginnel-server")}, args...), "--data-dir", s.dir)...)
}

func (s *server) mustAdmin(args ...string) string {
	s.t.Helper()
	out, err := s.admin(args...)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

var authKeyText = regexp.MustCompile(`gkey-auth-[0-9]+-[a-z2-7]+`)

// authKey makes a key to join with.
func (s *server) authKey(flags ...string) string {
	s.t.Helper()
	out := s.mustAdmin(append([]string{"authkeys", "create"}, flags...)...)
	key := authKeyText.FindString(out)
	if key == "" {
		s.t.Fatalf("no auth key in %q", out)
	}
	return key
}

// A listedNode is what `nodes list --json` says of a node, as far as the tests
// look at it.
type listedNode struct {
	ID        int64        `json:"id"`
	Name      string       `json:"name"`
	Online    bool         `json:"online"`
	Ephemeral bool         `json:"ephemeral"`
	NodeKey   string       `json:"nodeKey"`
	Addresses []netip.Addr `json:"addresses"`
}

func (s *server) nodes() []listedNode {
	s.t.Helper()
	var list []listedNode
	out := s.mustAdmin("nodes", "list", "--json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		s.t.Fatalf("nodes list: %v\n%s", err, out)
	}
	return list
}

func (s *server) node(name string) (listedNode, error) {
	for _, n := range s.nodes() {
		if n.Name == name {
			return n, nil
		}
	}
	return listedNode{}, errors.New("the server lists no node " + name)
}
