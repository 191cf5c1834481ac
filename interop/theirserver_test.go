package interop

import (
	"net/http/httptest"
	"testing"

	"tailscale.com/tstest/integration/testcontrol"
)

// theirAuthKey is the key that their test server takes.
const theirAuthKey = "a-key-for-tests"

// A theirServer is the official test control server.
type theirServer struct {
	*testcontrol.Server
	url string
}

// startTheirServer runs their server, which hands out the one relay, until the
// test ends.
func startTheirServer(t *testing.T, r *testRelay) *theirServer {
	t.Helper()
	c := &testcontrol.Server{
		DERPMap:        r.theirMap(),
		RequireAuthKey: theirAuthKey,
		Logf:           newLog(t, "their server").Logf,
		AllOnline:      true,
	}
	c.HTTPTestServer = httptest.NewUnstartedServer(c)
	c.HTTPTestServer.Start()
	t.Cleanup(c.HTTPTestServer.Close)
	return &theirServer{Server: c, url: c.HTTPTestServer.URL}
}

// TestTheirServerHoldsOfficialNodes checks that the set-up of the other tests
// is sound: two official nodes meet on their server.
func TestTheirServerHoldsOfficialNodes(t *testing.T) {
	for relayName, start := range relays {
		t.Run(relayName, func(t *testing.T) {
			c := startTheirServer(t, start(t, noMesh))
			a := joinOfficial(t, c.url, theirAuthKey, "a", direct)
			b := joinOfficial(t, c.url, theirAuthKey, "b", relayed)
			meet(t, a.member, b.member, relayed)
		})
	}
}
