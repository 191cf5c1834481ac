package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/ipn"

	"github.com/ginnel/ginnel/server"
	"github.com/ginnel/ginnel/server/tailnet"
)

// identity is what a node keeps over logins.
type identity struct{ id, ip4, ip6 string }

func (m *member) identity() identity {
	m.t.Helper()
	st, err := m.status()
	if err != nil {
		m.t.Fatal(err)
	}
	m.takeAddresses()
	return identity{st.Self.ID, m.ip4.String(), m.ip6.String()}
}

// waitLoginURL waits until the node shows a URL of the server other than those
// before, opens it as a browser would, and returns the name of the login.
func (o *official) waitLoginURL(s *server.Server, before ...string) (login string) {
	o.t.Helper()
	eventually(o.t, o.name+" shows a login URL", func() error {
		st, err := o.status()
		if err != nil {
			return err
		}
		var ok bool
		if login, ok = strings.CutPrefix(st.AuthURL, s.URL()+"/register/"); !ok || slices.Contains(before, login) {
			return fmt.Errorf("it shows %q", st.AuthURL)
		}
		return nil
	})
	resp, err := http.Get(s.URL() + "/register/" + login)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(page), o.name) {
		o.t.Fatalf("the login page: %s, %v: %s", resp.Status, err, page)
	}
	return login
}

// approve lets the login in, for the server's first user.
func approve(t *testing.T, s *server.Server, login string) {
	t.Helper()
	if _, err := s.Tailnet().ApproveLogin(t.Context(), admin, login, firstUser(t, s), nil); err != nil {
		t.Fatal(err)
	}
}

// askLogin does what the official "login" and "up --force-reauth" do.
func (o *official) askLogin() {
	o.t.Helper()
	o.do("login", func(ctx context.Context, lc *local.Client) error { return lc.StartLoginInteractive(ctx) })
}

// lifecycle starts a server with an official node that goes through changes, whose
// user has logged in, and nodes of both makes that watch it.
func lifecycle(t *testing.T) (s *server.Server, subject, theirs *official, our *ours) {
	t.Helper()
	echoOnLoopback(t)
	s = startServer(t)
	key := authKey(t, s, tailnet.AuthKeyParams{Reusable: true})
	subject = newOfficial(t, s.URL(), "", "subject")
	subject.start()
	approve(t, s, subject.waitLoginURL(s))
	subject.up()
	theirs = joinOfficial(t, s.URL(), key, "theirs", direct)
	our = joinOurs(t, s.URL(), key, "ours")
	meet(t, subject.member, theirs.member, direct)
	meet(t, subject.member, our.member, direct)
	return s, subject, theirs, our
}

func TestOfficialLogout(t *testing.T) {
	s, subject, theirs, our := lifecycle(t)
	before := subject.identity()
	subject.do("logout", func(ctx context.Context, lc *local.Client) error { return lc.Logout(ctx) })
	subject.waitState("NeedsLogin")
	if n := nodeNamed(t, s, "subject"); !n.Expired(time.Now()) {
		t.Errorf("after the logout its key is valid until %v", n.KeyExpiry)
	}
	for _, w := range []*member{theirs.member, our.member} {
		w.waitPeer(subject.member, "expired", func(p *peerView) bool { return p.Expired })
	}

	// As "up" does: a logout made it forget all settings.
	prefs := ipn.NewPrefs()
	prefs.ControlURL, prefs.Hostname, prefs.WantRunning = s.URL(), "subject", true
	subject.do("start", func(ctx context.Context, lc *local.Client) error {
		return lc.Start(ctx, ipn.Options{AuthKey: authKey(t, s, tailnet.AuthKeyParams{}), UpdatePrefs: prefs})
	})
	subject.askLogin()
	subject.waitState("Running")
	if after := subject.identity(); after != before {
		t.Errorf("a new login made %v of %v", after, before)
	}
	for _, w := range []*member{theirs.member, our.member} {
		w.waitPeer(subject.member, "valid", func(p *peerView) bool { return !p.Expired && p.Online })
		w.waitPing(subject.member, direct)
	}
}

// TestOfficialInteractiveLogin has an official node wait for an approval, refuses
// it once, and has it log in again while it is in use.
func TestOfficialInteractiveLogin(t *testing.T) {
	s := startServer(t)
	theirs := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "theirs", direct)
	o := newOfficial(t, s.URL(), "", "subject")
	o.start()
	first := o.waitLoginURL(s)
	if err := s.Tailnet().DenyLogin(t.Context(), admin, first); err != nil {
		t.Fatal(err)
	}
	o.askLogin()
	second := o.waitLoginURL(s, first)
	approve(t, s, second)
	o.up()
	meet(t, o.member, theirs.member, direct)

	before := o.identity()
	nodeKey := nodeNamed(t, s, "subject").Key
	o.askLogin()
	third := o.waitLoginURL(s, first, second)
	theirs.waitPing(o.member, direct) // the old key is good until the new one is
	if n := nodeNamed(t, s, "subject"); n.Key != nodeKey {
		t.Error("the key changed before anybody approved the login")
	}
	approve(t, s, third)
	eventually(t, "the node has a new key", func() error {
		st, err := o.status()
		if err == nil && (st.Self.PublicKey == nodeKey.String() || st.BackendState != "Running") {
			err = fmt.Errorf("it is %s with %s", st.BackendState, st.Self.PublicKey)
		}
		return err
	})
	if after := o.identity(); after != before {
		t.Errorf("a new key made %v of %v", after, before)
	}
	theirs.waitPeer(o.member, "with the new key", func(p *peerView) bool { return p.PublicKey != nodeKey.String() && p.Online })
	theirs.waitPing(o.member, direct)
	o.waitPing(theirs.member, direct)
	theirs.echo(o.ip4)
	if got := s.Tailnet().Snapshot().NodeCount(); got != 2 {
		t.Errorf("the server has %d nodes, want 2", got)
	}
}

// TestOfficialKeyExpiry ends the key of an official node: once the server takes
// that back, once the node logs in again.
func TestOfficialKeyExpiry(t *testing.T) {
	s, subject, theirs, our := lifecycle(t)
	before := subject.identity()
	expire := func(at time.Time) {
		t.Helper()
		if _, err := s.Tailnet().ExpireNode(t.Context(), admin, nodeNamed(t, s, "subject").ID, at); err != nil {
			t.Fatal(err)
		}
	}
	seen := func(expired bool) {
		t.Helper()
		for _, w := range []*member{theirs.member, our.member} {
			w.waitPeer(subject.member, fmt.Sprintf("with expired %v", expired), func(p *peerView) bool { return p.Expired == expired })
		}
	}
	expire(time.Now())
	subject.waitState("NeedsLogin")
	seen(true)
	expire(time.Now().Add(24 * time.Hour))
	subject.waitState("Running")
	seen(false)
	theirs.waitPing(subject.member, direct)
	our.waitPing(subject.member, direct)

	expire(time.Now())
	subject.waitState("NeedsLogin")
	seen(true)
	subject.askLogin()
	approve(t, s, subject.waitLoginURL(s))
	subject.waitState("Running")
	if after := subject.identity(); after != before {
		t.Errorf("a login after the key ran out made %v of %v", after, before)
	}
	seen(false)
	theirs.waitPing(subject.member, direct)
	our.waitPing(subject.member, direct)
	subject.waitPing(our.member, direct)
}

func TestOfficialRename(t *testing.T) {
	s, subject, theirs, our := lifecycle(t)
	named := func(want string) {
		t.Helper()
		for _, w := range []*member{theirs.member, our.member} {
			w.waitPeer(subject.member, "as "+want, func(p *peerView) bool { return p.label() == want })
		}
		eventually(t, "the node knows that it is "+want, func() error {
			st, err := subject.status()
			if err == nil && st.Self.label() != want {
				err = errors.New("it thinks " + st.Self.DNSName)
			}
			return err
		})
	}
	hostname := func(name string) {
		t.Helper()
		subject.do("set --hostname", func(ctx context.Context, lc *local.Client) error {
			_, err := lc.EditPrefs(ctx, &ipn.MaskedPrefs{Prefs: ipn.Prefs{Hostname: name}, HostnameSet: true})
			return err
		})
	}
	id := nodeNamed(t, s, "subject").ID
	rename := func(name string) {
		t.Helper()
		if _, err := s.Tailnet().RenameNode(t.Context(), admin, id, name); err != nil {
			t.Fatal(err)
		}
	}
	hostname("other")
	named("other")
	hostname("theirs") // taken
	named("theirs-1")
	rename("fixed")
	named("fixed")
	hostname("ignored")
	eventually(t, "the server knows the host name", func() error {
		if got := s.Tailnet().Snapshot().Node(id).Hostinfo.Hostname; got != "ignored" {
			return errors.New("it knows " + got)
		}
		return nil
	})
	named("fixed")
	rename("") // follows the host name again
	named("ignored")
}

// TestOfficialDeleted removes an official node once while it is connected and once
// while it is away. It must notice, and come back as another node.
func TestOfficialDeleted(t *testing.T) {
	s, subject, theirs, our := lifecycle(t)
	remove := func() {
		t.Helper()
		if err := s.Tailnet().DeleteNode(t.Context(), admin, nodeNamed(t, s, "subject").ID); err != nil {
			t.Fatal(err)
		}
		theirs.waitForgets(subject.member)
		our.waitForgets(subject.member)
	}
	var logins []string
	comeBack := func(before identity) {
		t.Helper()
		logins = append(logins, subject.waitLoginURL(s, logins...))
		approve(t, s, logins[len(logins)-1])
		eventually(t, "the node is another one", func() error {
			st, err := subject.status()
			if err == nil && (st.BackendState != "Running" || st.Self.ID == before.id || len(st.Self.TailscaleIPs) == 0) {
				err = fmt.Errorf("it is %s as %s at %v", st.BackendState, st.Self.ID, st.Self.TailscaleIPs)
			}
			return err
		})
		subject.takeAddresses()
		theirs.waitPing(subject.member, direct)
		our.waitPing(subject.member, direct)
	}
	before := subject.identity()
	remove()
	subject.waitState("NeedsLogin")
	subject.askLogin()
	comeBack(before)

	before = subject.identity()
	subject.node.Close()
	remove()
	subject.restart()
	comeBack(before)
}

// TestNewUserIsShown checks that nodes that are up already show whose a node is
// that comes later.
func TestNewUserIsShown(t *testing.T) {
	s := startServer(t)
	theirs := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "theirs", direct)
	our := joinOurs(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "ours")
	u, err := s.Tailnet().CreateUser(t.Context(), admin, tailnet.DefaultTailnet, tailnet.UserParams{LoginName: "ann@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	hers := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{UserID: u.ID}), "hers", direct)
	tagged := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{Tags: []string{"tag:web"}}), "tagged", direct)
	for _, w := range []*member{theirs.member, our.member} {
		for node, want := range map[*member]string{hers.member: "ann@example.com", tagged.member: "tagged-devices"} {
			eventually(t, fmt.Sprintf("%s shows whose %s is", w.name, node.name), func() error {
				p, err := w.peer(node)
				if err != nil {
					return err
				}
				st, err := w.status()
				if got := st.User[fmt.Sprint(p.UserID)].LoginName; err == nil && got != want {
					err = fmt.Errorf("it shows %q", got)
				}
				return err
			})
		}
	}
}
