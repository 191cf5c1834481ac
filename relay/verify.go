package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// Bounds of a question to an admission server: wire document relay, section 12.2.
const (
	verifyTimeout     = 5 * time.Second
	maxVerifyResponse = 4 << 10
)

// ErrNotAllowed is the error of a client that the admission server does not know.
var ErrNotAllowed = errors.New("the admission server does not allow this client")

// verifyRequest is what the admission server is asked.
type verifyRequest struct {
	NodePublic key.NodePublic
	Source     string // address, or empty when unknown
}

// VerifyURL returns a Config.Verify that asks an admission server by HTTP POST. When
// the server cannot be reached, failOpen admits the client; an answer that is not
// a clear yes refuses it in any case. hc may be nil.
func VerifyURL(url string, failOpen bool, hc *http.Client) func(context.Context, key.NodePublic, netip.Addr) error {
	if hc == nil {
		hc = http.DefaultClient
	}
	return func(ctx context.Context, client key.NodePublic, from netip.Addr) error {
		ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
		defer cancel()
		q := verifyRequest{NodePublic: client}
		if from.IsValid() {
			q.Source = from.String()
		}
		body, err := json.Marshal(q)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return fmt.Errorf("admission server %s: %w", url, err)
		}
		res, err := hc.Do(req)
		if err != nil {
			if failOpen {
				return nil
			}
			return fmt.Errorf("admission server: %w", err)
		}
		defer res.Body.Close()
		return readVerdict(res)
	}
}

// readVerdict reads an admission server's answer.
func readVerdict(res *http.Response) error {
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("admission server: status %s", res.Status)
	}
	var verdict struct{ Allow bool }
	if err := json.NewDecoder(io.LimitReader(res.Body, maxVerifyResponse)).Decode(&verdict); err != nil {
		return fmt.Errorf("admission server: %w", err)
	}
	if !verdict.Allow {
		return ErrNotAllowed
	}
	return nil
}
