package command

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/server/admin"
)

func TestPrintNodes(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	const day = 24 * time.Hour
	addr := func(v4 string) []netip.Addr {
		return []netip.Addr{netip.MustParseAddr(v4), netip.MustParseAddr("fd7a::1")}
	}
	var out strings.Builder
	printNodes(&out, []admin.Node{
		{ID: 1, Name: "laptop", Addresses: addr("100.64.0.1"), User: "admin", OS: "linux", Online: true, Authorized: true, LastSeen: now.Add(-day), KeyExpiry: now.Add(179*day + time.Hour)},
		{ID: 2, Name: "web-frankfurt", Addresses: addr("100.64.0.2"), User: "admin", Tags: []string{"tag:prod", "tag:web"}, OS: "linux", Authorized: true, LastSeen: now.Add(-3 * time.Hour)},
		{ID: 13, Name: "phone", Addresses: addr("100.64.0.13"), User: "ben@example.com", OS: "iOS", Authorized: true, Expired: true, LastSeen: now.Add(-40 * day), KeyExpiry: now.Add(-30 * day)},
		{ID: 14, Name: "new", Addresses: addr("100.64.0.14"), User: "ben@example.com", OS: "windows", Online: true},
	}, now)
	want := `
ID  NAME           ADDRESS      OWNER             OS       STATE           SEEN     EXPIRES
1   laptop         100.64.0.1   admin             linux    online          now      in 179d
2   web-frankfurt  100.64.0.2   tag:prod,tag:web  linux    offline         3h ago   never
13  phone          100.64.0.13  ben@example.com   iOS      expired         40d ago  30d ago
14  new            100.64.0.14  ben@example.com   windows  needs approval  now      never
`
	if got := "\n" + out.String(); got != want {
		t.Errorf("printed%s\nwant%s", got, want)
	}
}

func TestPrintAudit(t *testing.T) {
	for text, want := range map[string]string{
		``:  ``,
		`x`: `x`,
		`{"name":"a b","authKey":1,"tags":["tag:a"],"nodeKey":"nodekey:` + strings.Repeat("0123456789abcdef", 4) + `","to":""}`: `authKey=1 name="a b" nodeKey=nodekey:01234567… tags=[tag:a] to=""`,
	} {
		if got := detail(text); got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
	}
}
