package noise

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/wire/key"
)

// TestKeysStayHidden prints a handshake and a session in every way and looks for
// the bytes of their keys.
func TestKeysStayHidden(t *testing.T) {
	server := key.NewMachine()
	ini, msg, err := NewInitiator(key.NewMachine(), server.Public(), 113)
	if err != nil {
		t.Fatal(err)
	}
	session, _, err := Respond(server, msg)
	if err != nil {
		t.Fatal(err)
	}
	chaining := ini.sym.ck
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%o"} {
		for _, value := range []any{ini, *ini, session, *session, struct{ I *Initiator }{ini}, struct{ S Session }{*session}} {
			got := fmt.Sprintf(verb, value)
			for _, leak := range []string{hex.EncodeToString(chaining[:4]), strings.Trim(fmt.Sprint(chaining[:4]), "[]"), "chacha20poly1305"} {
				if strings.Contains(strings.ToLower(got), leak) {
					t.Errorf("%s of %T leaks %q: %s", verb, value, leak, got)
				}
			}
		}
	}
	if got := fmt.Sprint(session); !strings.Contains(got, session.Peer().ShortString()) {
		t.Errorf("a session does not say with whom it is: %s", got)
	}
	for _, value := range []any{ini, *ini, session, *session} {
		out, err := json.Marshal(value)
		if err != nil || !strings.HasPrefix(string(out), `"[noise`) {
			t.Errorf("%T in JSON is %s, %v", value, out, err)
		}
		for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
			"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		} {
			var buf bytes.Buffer
			slog.New(handler(&buf)).Info("x", "value", value)
			if !strings.Contains(buf.String(), "[noise") {
				t.Errorf("%T in a %s log is %s", value, name, buf.String())
			}
		}
	}
}
