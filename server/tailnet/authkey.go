package tailnet

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// An auth key is the text gkey-auth-<ID>-<secret>: the ID in decimal and 256
// random bits in lower-case base32. The prefix lets secret scanners find it, the
// ID lets people name it.
const authKeyPrefix = "gkey-auth-"

var secretEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func formatAuthKey(id int64, secret [32]byte) string {
	return authKeyPrefix + strconv.FormatInt(id, 10) + "-" + secretEncoding.EncodeToString(secret[:])
}

// parseAuthKey takes an auth key apart. It returns the hash of the secret.
func parseAuthKey(text string) (id int64, hash [32]byte, err error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), authKeyPrefix)
	if !ok {
		return 0, hash, ErrAuthKeyInvalid
	}
	idText, secretText, _ := strings.Cut(rest, "-")
	secret, err := secretEncoding.DecodeString(secretText)
	if err != nil || len(secret) != 32 {
		return 0, hash, ErrAuthKeyInvalid
	}
	if id, err = strconv.ParseInt(idText, 10, 64); err != nil || id <= 0 {
		return 0, hash, ErrAuthKeyInvalid
	}
	return id, sha256.Sum256(secret), nil
}

// checkAuthKey returns the auth key that the text names, if it may be used now.
// Everything but a key with the right secret is the same error, so that guessing
// tells nothing.
func (t *tx) checkAuthKey(text string) (*AuthKey, error) {
	id, hash, err := parseAuthKey(text)
	if err != nil {
		return nil, err
	}
	k := t.AuthKey(id)
	if k == nil || subtle.ConstantTimeCompare(k.Hash[:], hash[:]) != 1 {
		return nil, ErrAuthKeyInvalid
	}
	switch {
	case !k.Revoked.IsZero():
		return nil, ErrAuthKeyRevoked
	case k.Expired(t.now):
		return nil, ErrAuthKeyExpired
	case !k.Reusable && k.Uses > 0:
		return nil, ErrAuthKeyUsed
	}
	return k, nil
}

// useAuthKey collects one use of an auth key.
func (t *tx) useAuthKey(k *AuthKey) {
	used := *k
	used.Uses++
	used.LastUsed = t.now
	t.authKeys = append(t.authKeys, &used)
}

// Expired reports whether the key is past its expiry at now.
func (k *AuthKey) Expired(now time.Time) bool {
	return !k.Expiry.IsZero() && !now.Before(k.Expiry)
}

// Usable reports whether a node could join with the key at now.
func (k *AuthKey) Usable(now time.Time) bool {
	return k.Revoked.IsZero() && !k.Expired(now) && (k.Reusable || k.Uses == 0)
}

// AuthKeyParams describe a new auth key.
type AuthKeyParams struct {
	UserID        control.UserID
	Reusable      bool
	Ephemeral     bool
	Preauthorized bool
	Tags          []string
	Description   string
	Expiry        time.Time // zero is never
}

// CreateAuthKey makes an auth key. The returned secret is the text to give to
// `ginnel up --auth-key`; it cannot be had again.
func (s *Service) CreateAuthKey(ctx context.Context, by Actor, p AuthKeyParams) (k *AuthKey, secret string, err error) {
	tags, err := cleanTags(p.Tags)
	if err != nil {
		return nil, "", err
	}
	var raw [32]byte
	rand.Read(raw[:])
	k, err = run(ctx, s, func(t *tx) (*AuthKey, error) {
		u := t.User(p.UserID)
		if u == nil {
			return nil, ErrUserUnknown
		}
		if !p.Expiry.IsZero() && !t.now.Before(p.Expiry) {
			return nil, fmt.Errorf("expiry %s of the new auth key is not in the future", p.Expiry.Format(time.RFC3339))
		}
		t.counters.AuthKey++
		k := &AuthKey{
			ID:            t.counters.AuthKey,
			TailnetID:     u.TailnetID,
			UserID:        u.ID,
			Hash:          sha256.Sum256(raw[:]),
			Reusable:      p.Reusable,
			Ephemeral:     p.Ephemeral,
			Preauthorized: p.Preauthorized,
			Tags:          tags,
			Description:   p.Description,
			Created:       t.now,
			Expiry:        normalTime(p.Expiry),
		}
		t.authKeys = append(t.authKeys, k)
		t.record(by, u.TailnetID, "authkey.create", strconv.FormatInt(k.ID, 10), map[string]any{
			"user": u.LoginName, "reusable": k.Reusable, "ephemeral": k.Ephemeral, "tags": k.Tags})
		return k, nil
	})
	if err != nil {
		return nil, "", err
	}
	return k, formatAuthKey(k.ID, raw), nil
}

// RevokeAuthKey stops an auth key from being accepted. Nodes that joined with it
// stay. Revoking a revoked key does nothing.
func (s *Service) RevokeAuthKey(ctx context.Context, by Actor, id int64) (*AuthKey, error) {
	return run(ctx, s, func(t *tx) (*AuthKey, error) {
		k := t.AuthKey(id)
		if k == nil {
			return nil, ErrAuthKeyUnknown
		}
		if !k.Revoked.IsZero() {
			return k, nil
		}
		revoked := *k
		revoked.Revoked = t.now
		t.authKeys = append(t.authKeys, &revoked)
		t.record(by, k.TailnetID, "authkey.revoke", strconv.FormatInt(id, 10), nil)
		return &revoked, nil
	})
}
