package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// registerTimeout bounds a register request that waits for nobody.
const registerTimeout = 30 * time.Second

// logoutExpiry is the past moment that turns a register request into a logout.
var logoutExpiry = time.Unix(123, 0).UTC()

// LoginOptions says how to log in.
type LoginOptions struct {
	// AuthKey logs in without the user. Empty means by the key the node has, and
	// by a URL when that is not enough.
	AuthKey string
	// FreshKey makes a new node key, for a login by the user's wish or because
	// the present key has expired.
	FreshKey bool
	// Patient keeps trying after a refusal too, as a restarted daemon must; a
	// login that a user has just asked for ends with the refusal instead.
	Patient bool
	// Ephemeral asks the server to forget the node when it goes.
	Ephemeral bool
}

// login is one login from its first request to success or refusal.
type login struct {
	client   *Client
	options  LoginOptions
	identity Identity        // before the login
	tried    key.NodePrivate // key of the latest request, zero before the first
	begun    key.NodePrivate // Identity.NextNodeKey until it was tried
	followup string          // URL that is waited on, or ""
	renewed  bool            // the server has already asked for a new key once
	troubled bool            // the latest step failed
}

// run tries until the login is done or ctx ends.
func (l *login) run(ctx context.Context) (*LoggedIn, error) {
	var pause backoff
	for {
		wake := l.client.linkWake() // also a change during the attempt is a reason to try again
		done, err := l.step(ctx)
		if done != nil {
			return done, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		wait := time.Duration(0)
		if err == nil {
			pause.reset() // a step forward: go on at once
		} else {
			var refused *RefusedError
			if errors.As(err, &refused) && !l.options.Patient {
				return nil, err
			}
			l.client.emit(LoginFailed{Err: err})
			l.troubled = true
			wait = pause.next()
			var limited *RateLimitedError
			if errors.As(err, &limited) {
				wait = limited.Wait
			}
		}
		if !sleep(ctx, wait, wake) {
			return nil, context.Cause(ctx)
		}
	}
}

// step makes one request. It returns the end of the login, or nil and nil after
// a step forward, or an error.
func (l *login) step(ctx context.Context) (*LoggedIn, error) {
	waiting := l.followup != ""
	if !waiting {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, registerTimeout,
			&UnreachableError{URL: l.client.url.base, Err: errors.New("no answer to the register request")})
		defer cancel()
	}
	if l.tried.IsZero() {
		l.tried = l.identity.NodeKey
		if l.tried.IsZero() || l.options.FreshKey {
			l.tried = l.newKey()
		}
	}
	if waiting && l.troubled {
		// The answer may take days: a connection shows that the trouble is over.
		if _, err := l.client.transport.get(ctx); err != nil {
			return nil, err
		}
		l.troubled = false
		l.client.emit(LoginWaiting{})
	}
	resp, err := l.client.transport.register(ctx, l.request())
	if err != nil {
		var status *StatusError
		if errors.As(err, &status) && status.Code == http.StatusBadRequest {
			return nil, &RefusedError{Text: status.Text}
		}
		return nil, err
	}
	return l.answer(resp, waiting)
}

// answer acts on a register response in the order of section 4.2.
func (l *login) answer(resp *control.RegisterResponse, waiting bool) (*LoggedIn, error) {
	switch {
	case resp.Error != "":
		l.followup = ""
		return nil, &RefusedError{Text: resp.Error}
	case len(resp.NodeKeySignature) > 0:
		l.followup = ""
		return nil, &RefusedError{Text: "this network is locked by signing keys, which this node does not support"}
	case resp.NodeKeyExpired:
		if waiting || l.renewed && !l.tried.Equal(l.identity.NextNodeKey) {
			l.followup = ""
			return nil, errors.New("the server says that a new node key has already expired")
		}
		l.renewed = true
		l.tried = l.newKey()
		return nil, nil
	case resp.AuthURL != "" && !waiting && !l.begun.IsZero():
		// The server may not know the key because it knows the next one already.
		l.tried = l.newKey()
		return nil, nil
	case resp.AuthURL != "":
		if err := l.client.url.checkAuthURL(resp.AuthURL); err != nil {
			return nil, err
		}
		if resp.AuthURL == l.followup {
			return nil, errors.New("the server ended the wait for the login early")
		}
		l.followup = resp.AuthURL
		l.client.emit(LoginURL{URL: resp.AuthURL})
		return nil, nil
	}
	id := l.identity
	if !l.tried.Equal(id.NodeKey) {
		if !id.NodeKey.IsZero() {
			id.OldNodeKey = id.NodeKey
		}
		id.NodeKey = l.tried
	}
	id.NextNodeKey = key.NodePrivate{}
	return &LoggedIn{Identity: id, User: resp.User, Login: resp.Login}, nil
}

// newKey returns a key to replace the present one: that of a login begun earlier, or a
// new one, which is stored first.
func (l *login) newKey() key.NodePrivate {
	k := l.begun
	l.begun = key.NodePrivate{}
	if k.IsZero() {
		k = key.NewNode()
		if keep := l.client.keepKey; keep != nil {
			keep(l.identity.NodeKey.Public(), k)
		}
	}
	return k
}

// request makes the register request of the present step.
func (l *login) request() *control.RegisterRequest {
	old := l.identity.OldNodeKey
	if !l.tried.Equal(l.identity.NodeKey) && !l.identity.NodeKey.IsZero() {
		old = l.identity.NodeKey
	}
	req := &control.RegisterRequest{
		Version:    control.CurrentCapabilityVersion,
		NodeKey:    l.tried.Public(),
		OldNodeKey: old.Public(),
		NLKey:      l.identity.LockKey.Public(),
		Followup:   l.followup,
		Hostinfo:   l.client.localState().Hostinfo,
		Ephemeral:  l.options.Ephemeral,
	}
	if l.options.AuthKey != "" {
		req.Auth = &control.RegisterAuth{AuthKey: l.options.AuthKey}
	}
	return req
}

// logout tells the server that the node is leaving. An ephemeral node is deleted
// by it, others are expired.
func (t *transport) logout(ctx context.Context, id Identity, host *control.Hostinfo) error {
	ctx, cancel := context.WithTimeoutCause(ctx, registerTimeout,
		&UnreachableError{URL: t.dialer.server.base, Err: errors.New("no answer to the logout request")})
	defer cancel()
	resp, err := t.register(ctx, &control.RegisterRequest{
		Version: control.CurrentCapabilityVersion,
		NodeKey: id.NodeKey.Public(), OldNodeKey: id.OldNodeKey.Public(), NLKey: id.LockKey.Public(),
		Expiry: logoutExpiry, Hostinfo: host,
	})
	if err != nil {
		return fmt.Errorf("logout: %w", err)
	}
	if resp.Error != "" {
		return fmt.Errorf("logout: %w", &RefusedError{Text: resp.Error})
	}
	return nil
}
