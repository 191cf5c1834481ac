package tailnet

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Every index of a snapshot agrees with the nodes, and a published version never
// changes, whatever happens later.
func TestSnapshotIndexes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		work := newSnapshot()
		model := map[control.NodeID]*Node{}
		type frozen struct {
			snap  *Snapshot
			nodes map[control.NodeID]*Node
		}
		var history []frozen
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := control.NodeID(rapid.IntRange(1, 8).Draw(t, "id"))
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				work.dropNode(id)
				delete(model, id)
			case 1:
				c := map[control.NodeID]*Node{}
				for k, v := range model {
					c[k] = v
				}
				history = append(history, frozen{work.clone(), c})
			default:
				n := &Node{
					ID: id, TailnetID: DefaultTailnet, Hostinfo: &control.Hostinfo{},
					Key:       nodeKey(byte(id), rapid.ByteRange(0, 2).Draw(t, "key")),
					Machine:   machineKey(rapid.ByteRange(0, 2).Draw(t, "machine")),
					GivenName: fmt.Sprintf("%d-%d", id, rapid.IntRange(0, 2).Draw(t, "name")),
					IPv4:      netip.AddrFrom4([4]byte{100, 64, byte(id), rapid.ByteRange(0, 2).Draw(t, "ip")}),
				}
				if e := rapid.Int64Range(0, 3).Draw(t, "expiry"); e > 0 {
					n.KeyExpiry = time.Unix(e, 0)
				}
				work.putNode(n)
				model[id] = n
			}
		}
		for _, h := range append(history, frozen{work, model}) {
			checkIndexes(t, h.snap, h.nodes)
		}
	})
}

func nodeKey(b ...byte) key.NodePublic {
	var raw [32]byte
	copy(raw[:], b)
	return key.NodePublicFromRaw32(raw)
}

func machineKey(b byte) key.MachinePublic { return key.MachinePublicFromRaw32([32]byte{b}) }

func checkIndexes(t *rapid.T, s *Snapshot, model map[control.NodeID]*Node) {
	expiring, machines := 0, map[key.MachinePublic][]control.NodeID{}
	for id, n := range model {
		if s.Node(id) != n || s.NodeByKey(n.Key) != n || s.NodeByName(n.TailnetID, n.GivenName) != n || s.NodeByAddr(n.IPv4) != n {
			t.Fatalf("node %d is not found by everything", id)
		}
		if !n.KeyExpiry.IsZero() {
			expiring++
		}
		machines[n.Machine] = append(machines[n.Machine], id)
	}
	if s.NodeCount() != len(model) || s.byKey.len() != len(model) || s.byName.len() != len(model) ||
		s.byAddr.len() != len(model) || s.byMachine.len() != len(model) || s.byExpiry.len() != expiring {
		t.Fatalf("index sizes %d %d %d %d %d %d for %d nodes, %d of them expiring", s.NodeCount(), s.byKey.len(), s.byName.len(),
			s.byAddr.len(), s.byMachine.len(), s.byExpiry.len(), len(model), expiring)
	}
	for m, want := range machines {
		slices.Sort(want)
		var got []control.NodeID
		for _, n := range s.NodesOfMachine(m) {
			got = append(got, n.ID)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("nodes of a machine: %v, want %v", got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	pool, err := newAddrPool(netip.MustParsePrefix("100.100.100.96/29"), netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	taken := map[netip.Addr]bool{}
	isTaken := func(a netip.Addr) bool { return taken[a] }
	var got []string
	for {
		v4, v6, err := pool.next(isTaken)
		if err != nil {
			if !errors.Is(err, ErrPoolEmpty) {
				t.Fatal(err)
			}
			break
		}
		a, b := v4.As4(), v6.As16()
		if [3]byte(a[1:]) != [3]byte(b[13:]) || !mappedIPv6.Contains(v6) {
			t.Errorf("%s is mapped to %s", v4, v6)
		}
		taken[v4], taken[v6] = true, true
		got = append(got, v4.String())
	}
	// Without the first and the last of the range, and the resolver.
	want := []string{"100.100.100.97", "100.100.100.98", "100.100.100.99", "100.100.100.101", "100.100.100.102"}
	if !slices.Equal(got, want) {
		t.Errorf("handed out %v, want %v", got, want)
	}
	freed := netip.MustParseAddr("100.100.100.98")
	delete(taken, freed)
	delete(taken, pool.map6(freed))
	if v4, _, err := pool.next(isTaken); err != nil || v4 != freed {
		t.Errorf("after freeing: %s, %v", v4, err)
	}
}

func TestReservedAddresses(t *testing.T) {
	pool, err := newAddrPool(netip.MustParsePrefix("100.115.88.0/21"), netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	bad := netip.MustParsePrefix("100.115.92.0/23")
	taken := map[netip.Addr]bool{}
	n := 0
	for ; ; n++ {
		v4, v6, err := pool.next(func(a netip.Addr) bool { return taken[a] })
		if err != nil {
			break
		}
		if bad.Contains(v4) || taken[v4] || taken[v6] {
			t.Fatalf("handed out %s", v4)
		}
		taken[v4], taken[v6] = true, true
	}
	if want := 2048 - 512 - 2; n != want {
		t.Errorf("%d addresses, want %d", n, want)
	}
}

func TestRanges(t *testing.T) {
	for _, tt := range []struct {
		v4, v6 string
		ok     bool
	}{
		{"100.64.0.0/10", "fd7a:115c:a1e0::/48", true},
		{"100.99.0.0/16", "fd7a:115c:a1e0:1::/64", true},
		{"100.99.0.0/30", "fd7a:115c:a1e0:1:2:3:400::/104", true},
		{"10.0.0.0/8", "fd7a:115c:a1e0::/48", false},
		{"100.0.0.0/8", "fd7a:115c:a1e0::/48", false},
		{"100.64.0.1/10", "fd7a:115c:a1e0::/48", false},
		{"100.64.0.0/31", "fd7a:115c:a1e0::/48", false},
		{"100.64.0.0/10", "fd00::/48", false},
		{"100.64.0.0/10", "fd7a:115c:a1e0::/112", false},
		{"fd7a:115c:a1e0::/48", "100.64.0.0/10", false},
	} {
		err := CheckRanges(netip.MustParsePrefix(tt.v4), netip.MustParsePrefix(tt.v6))
		if (err == nil) != tt.ok {
			t.Errorf("%s and %s: %v", tt.v4, tt.v6, err)
		}
	}
	pool, err := newAddrPool(netip.Prefix{}, netip.MustParsePrefix("fd7a:115c:a1e0:1::/64"))
	if err != nil {
		t.Fatal(err)
	}
	if _, v6, err := pool.next(func(netip.Addr) bool { return false }); err != nil || v6 != netip.MustParseAddr("fd7a:115c:a1e0:1::6440:1") {
		t.Errorf("%s, %v", v6, err)
	}
}

func TestNames(t *testing.T) {
	for host, want := range map[string]string{"My Laptop.local": "my-laptop", "": nameless, "---": nameless, "ünïcode": "ncode", "a_b@c": "a-b-c"} {
		if got := labelOf(host); got != want {
			t.Errorf("label of %q is %q, want %q", host, got, want)
		}
	}
	long := strings.Repeat("x", 63)
	f := start(t, Options{})
	_, secret := f.authKey(AuthKeyParams{Reusable: true})
	first, second := f.join(newDevice(long), secret), f.join(newDevice(long), secret)
	if first.GivenName != long || second.GivenName != long[:61]+"-1" {
		t.Errorf("names %q and %q", first.GivenName, second.GivenName)
	}
	for _, n := range []*Node{first, second} { // neither is renamed by reporting the same host name
		if m, err := f.UpdateNode(t.Context(), n.ID, NodeUpdate{Hostinfo: &control.Hostinfo{Hostname: long}}); err != nil || m.GivenName != n.GivenName {
			t.Errorf("%q became %q, %v", n.GivenName, m.GivenName, err)
		}
	}
	// The first free number is taken, also after it was given back.
	var many []*Node
	for range 12 {
		many = append(many, f.join(newDevice("many"), secret))
	}
	for _, i := range []int{9, 3} {
		if err := f.DeleteNode(t.Context(), tester, many[i].ID); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"many-3", "many-9", "many-12"} {
		if n := f.join(newDevice("many"), secret); n.GivenName != want {
			t.Errorf("got the name %q, want %q", n.GivenName, want)
		}
	}
	for _, tt := range []struct {
		given, label string
		want         bool
	}{{"a", "a", true}, {"a-1", "a", true}, {"a-12", "a", true}, {"a-b", "a", false}, {"b-1", "a", false}, {"a-1", "a-b", false}, {"web-1", "website", false}} {
		if got := derivedFrom(tt.given, tt.label); got != tt.want {
			t.Errorf("derivedFrom(%q, %q) = %t", tt.given, tt.label, got)
		}
	}
}

func TestRename(t *testing.T) {
	f := start(t, Options{})
	_, secret := f.authKey(AuthKeyParams{Reusable: true})
	a, b := f.join(newDevice("a"), secret), f.join(newDevice("b"), secret)
	rename := func(name string) (*Node, error) { return f.RenameNode(t.Context(), tester, a.ID, name) }
	if n, err := rename("door"); err != nil || n.GivenName != "door" || !n.NameFixed {
		t.Fatalf("%+v, %v", n, err)
	}
	if n, err := f.UpdateNode(t.Context(), a.ID, NodeUpdate{Hostinfo: &control.Hostinfo{Hostname: "other"}}); err != nil || n.GivenName != "door" {
		t.Errorf("a fixed name followed the host name: %v, %v", n, err)
	}
	if _, err := rename(b.GivenName); !errors.Is(err, ErrNameTaken) {
		t.Errorf("taken name: %v", err)
	}
	for _, bad := range []string{"UPPER", "a.b", "-a", "a-", "ü", strings.Repeat("x", 64), "a b"} {
		if _, err := rename(bad); !errors.Is(err, ErrNameInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if n, err := rename(""); err != nil || n.GivenName != "other" || n.NameFixed {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestDeleteFreesNameAndAddress(t *testing.T) {
	f := start(t, Options{IPv4: netip.MustParsePrefix("100.64.1.0/30")})
	_, secret := f.authKey(AuthKeyParams{Reusable: true})
	a := f.join(newDevice("a"), secret)
	f.join(newDevice("b"), secret)
	p := newDevice("a").params()
	p.AuthKey = secret
	f.wantRefusal(p, ErrPoolEmpty)
	seen := f.watch()
	if err := f.DeleteNode(t.Context(), tester, a.ID); err != nil {
		t.Fatal(err)
	}
	if got := seen.take(); len(got) != 1 || got[0].Kind != NodeRemoved || got[0].Old.ID != a.ID || got[0].New != nil {
		t.Errorf("changes %v", describe(got))
	}
	if n := f.mustRegister(p); n.GivenName != "a" || n.IPv4 != a.IPv4 || n.ID == a.ID {
		t.Errorf("the next node is %+v", n)
	}
	if err := f.DeleteNode(t.Context(), tester, a.ID); !errors.Is(err, ErrNodeUnknown) {
		t.Errorf("second deletion: %v", err)
	}
}

func TestUsers(t *testing.T) {
	f := start(t, Options{})
	ctx := t.Context()
	if _, err := f.CreateUser(ctx, tester, DefaultTailnet, UserParams{LoginName: "anna"}); !errors.Is(err, ErrUserExists) {
		t.Errorf("same name twice: %v", err)
	}
	for _, bad := range []string{"", "a b", "a\nb", " a", strings.Repeat("x", 300), "\xff"} {
		if _, err := f.CreateUser(ctx, tester, DefaultTailnet, UserParams{LoginName: bad}); !errors.Is(err, ErrNameInvalid) {
			t.Errorf("login name %.20q: %v", bad, err)
		}
	}
	u, err := f.RenameUser(ctx, tester, f.user.ID, UserParams{LoginName: "anne"})
	if err != nil || u.LoginName != "anne" || u.DisplayName != "anna" {
		t.Errorf("renamed to %+v, %v", u, err)
	}
	if f.Snapshot().UserByLogin(DefaultTailnet, "anna") != nil || f.Snapshot().UserByLogin(DefaultTailnet, "anne") != u {
		t.Error("the index of login names is behind")
	}
	k, secret := f.authKey(AuthKeyParams{Reusable: true})
	n := f.join(newDevice("a"), secret)
	if err := f.DeleteUser(ctx, tester, u.ID); !errors.Is(err, ErrUserHasNodes) {
		t.Errorf("deleting an owner: %v", err)
	}
	if err := f.DeleteNode(ctx, tester, n.ID); err != nil {
		t.Fatal(err)
	}
	if err := f.DeleteUser(ctx, tester, u.ID); err != nil {
		t.Fatal(err)
	}
	if f.Snapshot().AuthKey(k.ID) != nil {
		t.Error("the user's auth key outlived the user")
	}
	p := newDevice("b").params()
	p.AuthKey = secret
	f.wantRefusal(p, ErrAuthKeyInvalid)
	if err := f.DeleteUser(ctx, tester, u.ID); !errors.Is(err, ErrUserUnknown) {
		t.Errorf("second deletion: %v", err)
	}
}

func TestSetTags(t *testing.T) {
	f := start(t, Options{NodeKeyExpiry: time.Hour})
	_, secret := f.authKey(AuthKeyParams{Reusable: true})
	n := f.join(newDevice("a"), secret)
	if n.KeyExpiry.IsZero() {
		t.Fatal("an untagged node never expires")
	}
	if n, err := f.SetTags(t.Context(), tester, n.ID, []string{"tag:a"}); err != nil || !n.Tagged() || !n.KeyExpiry.IsZero() {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := f.SetTags(t.Context(), tester, n.ID, []string{"a"}); !errors.Is(err, ErrTags) {
		t.Errorf("bad tag: %v", err)
	}
}

func TestAudit(t *testing.T) {
	f := start(t, Options{})
	_, secret := f.authKey(AuthKeyParams{Reusable: true})
	n := f.join(newDevice("a"), secret)
	if _, err := f.RenameNode(t.Context(), tester, n.ID, "b"); err != nil {
		t.Fatal(err)
	}
	records, err := f.Audit(t.Context(), DefaultTailnet, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range records {
		got = append(got, r.Actor.Kind+" "+r.Action)
		if strings.Contains(r.Detail, secret[len(authKeyPrefix)+2:]) {
			t.Error("the audit log holds a secret")
		}
	}
	if want := []string{"admin node.rename", "node node.register", "admin authkey.create", "admin user.create"}; !slices.Equal(got, want) {
		t.Errorf("audit log %v, want %v", got, want)
	}
}

// The log tells of a command in attributes that people can read, while the audit
// log keeps all of it.
func TestLogOfCommands(t *testing.T) {
	var out strings.Builder
	f := start(t, Options{Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))})
	_, secret := f.authKey(AuthKeyParams{})
	n := f.join(newDevice("laptop"), secret)
	if _, err := f.ExpireNode(t.Context(), tester, n.ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetTags(t.Context(), tester, n.ID, []string{"tag:a"}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	id := string(n.StableID)
	want := "level=INFO msg=user.create target=anna by=\"admin test\" seq=1\n" +
		"level=INFO msg=authkey.create target=1 by=\"admin test\" ephemeral=false reusable=false tags=[] user=anna seq=2\n" +
		"level=INFO msg=node.register target=" + id + " by=node authKey=1 name=laptop nodeKey=" + n.Key.ShortString() + " user=anna seq=3\n" +
		"level=INFO msg=node.tag target=" + id + " by=\"admin test\" from=[] to=[tag:a] seq=4\n"
	if got := out.String(); got != want {
		t.Errorf("log:\n%swant:\n%s", got, want)
	}
	records, err := f.Audit(t.Context(), DefaultTailnet, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"authKey":1,"name":"laptop","nodeKey":"` + n.Key.String() + `","user":"anna"}`; records[1].Detail != want {
		t.Errorf("audit log %s, want %s", records[1].Detail, want)
	}
}

func FuzzParseAuthKey(f *testing.F) {
	f.Add(formatAuthKey(1, [32]byte{1, 2, 3}))
	f.Add("gkey-auth-1-")
	f.Add("gkey-auth--1-aaaa")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		id, _, err := parseAuthKey(text)
		if err == nil && (id <= 0 || !strings.Contains(text, authKeyPrefix)) {
			t.Errorf("%q was read as key %d", text, id)
		}
	})
}

func FuzzLabel(f *testing.F) {
	f.Add("Laptop.local")
	f.Add("a.-b")
	f.Add("\xff..x")
	f.Fuzz(func(t *testing.T, host string) {
		if label := labelOf(host); checkLabel(label) != nil {
			t.Errorf("host name %q gives the label %q", host, label)
		}
	})
}
