//go:build linux

package mesh

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"

	"github.com/ginnel/ginnel/bench/rig"
)

// Programs is a folder with built programs.
type Programs string

func (p Programs) path(name string) string { return filepath.Join(string(p), name) }

// OwnFolder is the folder of the running program, where the others are by default.
func OwnFolder() string {
	self, err := os.Executable()
	if err != nil {
		return "."
	}
	return filepath.Dir(self)
}

// A Server is a running ginnel-server.
type Server struct {
	// Process is the program, with the embedded relay inside.
	*rig.Process

	bin  Programs
	host *rig.Host
	dir  string
	url  string
}

// StartServer runs a server on the host and waits until it serves. Nodes reach
// it at the given IPv4 address.
func StartServer(ctx context.Context, bin Programs, r *rig.Rig, host *rig.Host, name, addr string, flags ...string) (*Server, error) {
	s := &Server{bin: bin, host: host, dir: filepath.Join(r.Dir(), name), url: "http://" + addr + ":8080"}
	args := append([]string{bin.path("ginnel-server"), "--data-dir", s.dir, "--listen", addr + ":8080", "--url", s.url, "--log-level", "warn"}, flags...)
	var err error
	if s.Process, err = host.Start(name, nil, args...); err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: host.Dial, DisableKeepAlives: true}}
	return s, s.Until(ctx, "the server is healthy", func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/healthz", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("health: %s", resp.Status)
		}
		return nil
	})
}

var authKeyText = regexp.MustCompile(`gkey-auth-\S+`)

// AuthKey makes a key to join with any number of times.
func (s *Server) AuthKey(ctx context.Context, flags ...string) (string, error) {
	args := append([]string{s.bin.path("ginnel-server"), "authkeys", "create", "--reusable", "--data-dir", s.dir}, flags...)
	out, err := s.host.Output(ctx, args...)
	if err != nil {
		return "", err
	}
	key := authKeyText.FindString(out)
	if key == "" {
		return "", fmt.Errorf("no auth key in %q", out)
	}
	return key, nil
}
