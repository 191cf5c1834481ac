package control

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestAuthPrintsRedacted prints the means of signing in in every way but the JSON
// that goes over the wire.
func TestAuthPrintsRedacted(t *testing.T) {
	const secret = "very-secret"
	forms := []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), strings.Trim(fmt.Sprint([]byte(secret)), "[]")}
	leaks := func(text string) bool {
		for _, form := range forms {
			if strings.Contains(text, form) {
				return true
			}
		}
		return false
	}
	token := &Oauth2Token{AccessToken: secret, RefreshToken: secret}
	for _, auth := range []*RegisterAuth{{AuthKey: secret}, {Oauth2Token: token}} {
		request := RegisterRequest{Auth: auth}
		values := []any{auth, *auth, token, *token, request, &request, struct{ A RegisterAuth }{*auth}, struct{ T *Oauth2Token }{token}, []RegisterAuth{*auth}}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X"} {
			for _, value := range values {
				if got := fmt.Sprintf(verb, value); leaks(got) {
					t.Errorf("%s of %T prints %s", verb, value, got)
				}
			}
		}
		for _, value := range []any{auth, *auth, token, *token, request, &request} {
			var buf bytes.Buffer
			slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "value", value)
			slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "value", value)
			if leaks(buf.String()) || buf.Len() == 0 {
				t.Errorf("%T in a log: %s", value, buf.String())
			}
		}
		if got := mustJSON(t, request); !strings.Contains(got, secret) {
			t.Errorf("the JSON for the wire lacks the secret: %s", got)
		}
	}
	if got := fmt.Sprint(RegisterAuth{}); got != "no auth" {
		t.Errorf("empty auth prints %q", got)
	}
}
