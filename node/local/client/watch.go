package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/ginnel/ginnel/node/local/api"
)

// ErrWatcherClosed is returned by Watcher.Next after Close.
var ErrWatcherClosed = errors.New("bus watcher is closed")

// Watcher reads the notification bus. Next and All are for one goroutine at a
// time; Close may be called from any.
type Watcher struct {
	body   io.ReadCloser
	dec    *json.Decoder
	cancel context.CancelFunc
	closed atomic.Bool
}

// WatchBus starts to watch the notification bus until ctx ends or the watcher is
// closed. A mask the daemon refuses is an HTTPError of status 400.
func (c *Client) WatchBus(ctx context.Context, mask api.NotifyMask) (*Watcher, error) {
	ctx, cancel := context.WithCancel(ctx)
	path := "watch-ipn-bus?mask=" + strconv.FormatUint(uint64(mask), 10)
	resp, err := c.Raw(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	if err := checkStatus(resp); err != nil {
		resp.Body.Close()
		cancel()
		return nil, err
	}
	return &Watcher{body: resp.Body, dec: json.NewDecoder(resp.Body), cancel: cancel}, nil
}

// Next waits for the next message. It fails with ErrWatcherClosed after Close,
// with the context's error after its end, and with io.EOF inside when the daemon
// ended the stream.
func (w *Watcher) Next() (*api.Notify, error) {
	n := new(api.Notify)
	if err := w.dec.Decode(n); err != nil {
		if w.closed.Load() {
			return nil, ErrWatcherClosed
		}
		return nil, fmt.Errorf("read the notification bus: %w", err)
	}
	return n, nil
}

// All yields messages until one cannot be read; that error, unless it is of Close,
// is yielded last with a nil message.
func (w *Watcher) All() iter.Seq2[*api.Notify, error] {
	return func(yield func(*api.Notify, error) bool) {
		for {
			n, err := w.Next()
			if errors.Is(err, ErrWatcherClosed) {
				return
			}
			if !yield(n, err) || err != nil {
				return
			}
		}
	}
}

// Close ends the watch and makes a waiting Next return. It may be called twice.
func (w *Watcher) Close() error {
	if w.closed.Swap(true) {
		return nil
	}
	w.cancel()
	if err := w.body.Close(); err != nil {
		return fmt.Errorf("close the notification bus: %w", err)
	}
	return nil
}
