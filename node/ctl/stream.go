package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// silence is how long the stream may be without a whole frame, keepalives
// included (wire document control, section 5.4).
const silence = 120 * time.Second

// maxDebugSleep bounds Debug.SleepSeconds.
const maxDebugSleep = 300 * time.Second

// poll follows the map stream until ctx ends, making it anew whenever it breaks.
func (c *Client) poll(ctx context.Context, nodeKey key.NodePublic) {
	var pause backoff
	for {
		wake := c.linkWake() // also a change during the attempt is a reason to try again
		full, err := c.stream(ctx, nodeKey)
		if ctx.Err() != nil {
			return
		}
		if full {
			pause.reset()
		}
		c.emit(Online{Err: err})
		if errors.Is(err, ErrUnknownNode) {
			c.do(func() { c.registerAgain() })
		}
		wait := pause.next()
		var limited *RateLimitedError
		if errors.As(err, &limited) {
			wait = limited.Wait
		}
		if !sleep(ctx, wait, wake) {
			return
		}
	}
}

// stream makes one map stream and follows it to its end. It reports whether a
// full map came in, and why the stream ended.
func (c *Client) stream(parent context.Context, nodeKey key.NodePublic) (full bool, err error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	watchdog := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer watchdog.Stop()

	local := c.localState()
	body, err := json.Marshal(&control.MapRequest{
		Version: control.CurrentCapabilityVersion, Compress: control.CompressZstd, KeepAlive: true, Stream: true,
		NodeKey: nodeKey, DiscoKey: local.DiscoKey, Hostinfo: local.Hostinfo,
		Endpoints: local.Endpoints, EndpointTypes: local.EndpointTypes,
	})
	if err != nil {
		return false, fmt.Errorf("encoding the map request: %w", err)
	}
	resp, err := c.transport.roundTrip(ctx, http.MethodPost, "/machine/map", body, nodeKey)
	if err != nil {
		c.giveUpOnSilence(ctx)
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		err := error(&StatusError{Op: "network map", Code: resp.StatusCode, Text: snippet(text)})
		switch resp.StatusCode {
		case http.StatusNotFound:
			err = fmt.Errorf("%w (%w)", ErrUnknownNode, err)
		case http.StatusTooManyRequests:
			err = &RateLimitedError{Wait: retryAfter(resp.Header, time.Now())}
		}
		return false, err
	}
	frames, err := newFrameReader(resp.Body)
	if err != nil {
		return false, err
	}
	defer frames.close()
	return c.follow(ctx, frames, watchdog)
}

// giveUpOnSilence drops the connection when nothing came over it for so long:
// the next request shall not use it again.
func (c *Client) giveUpOnSilence(ctx context.Context) {
	if errors.Is(context.Cause(ctx), errSilent) {
		c.transport.drop()
	}
}

// follow reads frames until the stream ends.
func (c *Client) follow(ctx context.Context, frames *frameReader, watchdog *time.Timer) (full bool, err error) {
	var builder netmap.Builder
	for {
		resp, err := frames.next()
		watchdog.Stop()
		if err != nil {
			c.giveUpOnSilence(ctx)
			if cause := context.Cause(ctx); cause != nil {
				return full, cause
			}
			if errors.Is(err, io.EOF) {
				err = errors.New("the coordination server ended the stream")
			}
			return full, err
		}
		c.notices(resp)
		if !resp.KeepAlive && !c.obeyDebug(ctx, resp.Debug) {
			return full, context.Cause(ctx)
		}
		if resp.Node != nil && resp.Node.ID == 0 {
			return full, ErrUnknownNode // no node has that number
		}
		m, changes, err := builder.Apply(resp, time.Now())
		if err != nil {
			return full, err
		}
		if changes.First {
			full = true
			c.emit(Online{})
		}
		if changes.Any() {
			c.emit(MapUpdate{Map: m, Changes: changes})
		}
		watchdog.Reset(silence)
	}
}

// obeyDebug does what the server asks of the node for tests, and reports whether ctx is
// still alive. The node does not end because a server says so, and has no log upload to
// turn off.
func (c *Client) obeyDebug(ctx context.Context, d *control.Debug) bool {
	if d == nil {
		return true
	}
	if d.Exit != nil {
		c.log.Warn("the server wants this process to end, which is ignored", "code", *d.Exit)
	}
	if d.SleepSeconds <= 0 {
		return true
	}
	return sleep(ctx, time.Duration(min(d.SleepSeconds, maxDebugSleep.Seconds())*float64(time.Second)), nil)
}

// notices handles what any frame may carry beside the map.
func (c *Client) notices(resp *control.MapResponse) {
	if p := resp.PingRequest; p != nil {
		c.pings.handle(c.ctx, p) // outlives this stream
	}
	if u := resp.PopBrowserURL; u != "" && u != c.lastBrowseURL {
		c.lastBrowseURL = u
		if err := c.url.checkAuthURL(u); err != nil {
			c.log.Warn("ignoring a URL that the server wants opened", "err", err)
		} else {
			c.emit(BrowseURL{URL: u})
		}
	}
	for id, m := range resp.DisplayMessages {
		if m != nil && m.PrimaryAction != nil && c.url.checkAuthURL(m.PrimaryAction.URL) != nil {
			c.log.Warn("ignoring the link of a message of the server, which is not safe to open", "message", id)
			m.PrimaryAction = nil
		}
	}
	c.transport.dialer.setPlan(resp.ControlDialPlan)
	if resp.ClientVersion != nil {
		c.emit(VersionNotice{Version: resp.ClientVersion})
	}
}
