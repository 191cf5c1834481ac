package route

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var testHead = journalHead{Version: journalVersion, Boot: "boot", NetNS: "net:[1]"}

func testObjects() []object {
	c := Config{
		Device:      "d",
		Addrs:       []netip.Prefix{netip.MustParsePrefix("100.64.0.9/32"), netip.MustParsePrefix("fd7a:115c:a1e0::9/128")},
		Routes:      []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("10.1.2.3/8")},
		LocalRoutes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
	}
	return plan(c, 7, support{v6: true, rules4: true, rules6: true})
}

func TestJournalRemembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "journal")
	j, err := createJournal(path, testHead, nil)
	if err != nil {
		t.Fatal(err)
	}
	objects := append([]object{{Kind: kindLink, Index: 7, Up: true, MTU: 1500}}, testObjects()...)
	if err := j.append(opMake, objects...); err != nil {
		t.Fatal(err)
	}
	if err := j.append(opGone, objects[2], objects[4]); err != nil {
		t.Fatal(err)
	}
	if err := j.append(opMake, objects[2]); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Delete(slices.Delete(slices.Clone(objects), 4, 5), 2, 3), objects[2])
	head, live, err := readJournal(path)
	if err != nil || head != testHead || !slices.Equal(live, want) {
		t.Errorf("read %+v, %v, %v", head, live, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: %v, %v", info, err)
	}
	// A cut anywhere loses nothing that was followed by a line's end.
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		_, live, err := readJournal(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if lines := slices.Index(whole[:n], '\n'); lines >= 0 && err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		for _, o := range live {
			if !slices.Contains(objects, o) {
				t.Fatalf("cut at %d: made up %v", n, o)
			}
		}
	}
	if err := j.close(true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readJournal(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after removal: %v", err)
	}
}

func TestDamagedJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	for _, text := range []string{"garbage\n", "{\"version\":99}\n", "{}\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := readJournal(path); !errors.Is(err, errDamaged) {
			t.Errorf("%q: %v", text, err)
		}
	}
	j, err := createJournal(path, testHead, testObjects()[:2])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.file.WriteString("x\x00garbage\n"); err != nil {
		t.Fatal(err)
	}
	if err := j.append(opMake, testObjects()[2]); err != nil {
		t.Fatal(err)
	}
	if _, live, err := readJournal(path); err != nil || !slices.Equal(live, testObjects()[:3]) {
		t.Errorf("with a damaged line: %v, %v", live, err)
	}
	j.close(false)
}

func FuzzReadJournal(f *testing.F) {
	f.Add([]byte("{\"version\":1,\"boot\":\"b\",\"netns\":\"n\"}\n{\"op\":\"make\",\"object\":{\"kind\":\"rule\",\"table\":52,\"priority\":5270}}\n"))
	f.Add([]byte("{\"version\":1}\n{\"op\":\"gone\",\"object\":{\"kind\":\"route\",\"prefix\":\"10.0.0.0/8\",\"table\":52}}\n{"))
	path := filepath.Join(f.TempDir(), "journal")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, live, err := readJournal(path); err != nil && live != nil {
			t.Fatal("objects together with an error")
		}
	})
}

func TestPlan(t *testing.T) {
	pfx := netip.MustParsePrefix
	c := Config{
		Device: "d", Addrs: []netip.Prefix{pfx("100.64.0.9/32"), pfx("fd7a::9/128")},
		Routes:      []netip.Prefix{pfx("fd7a::/48"), pfx("0.0.0.0/0"), pfx("100.64.0.1/32"), pfx("100.64.0.1/32"), pfx("192.168.7.7/24")},
		LocalRoutes: []netip.Prefix{pfx("192.168.1.0/24"), pfx("192.168.7.0/24")},
	}
	count := func(s support) (addrs, routes, throws, rules int) {
		for _, o := range plan(c, 3, s) {
			switch {
			case o.Kind == kindAddr:
				addrs++
			case o.Kind == kindRule:
				rules++
			case o.Throw:
				throws++
			default:
				routes++
			}
		}
		return
	}
	for _, x := range []struct {
		name                         string
		s                            support
		addrs, routes, throws, rules int
	}{
		{"everything", support{true, true, true}, 2, 4, 1, 8},
		{"no IPv6", support{false, true, false}, 1, 3, 1, 4},
		{"no policy rules", support{true, false, false}, 2, 4, 0, 0},
	} {
		a, r, th, ru := count(x.s)
		if a != x.addrs || r != x.routes || th != x.throws || ru != x.rules {
			t.Errorf("%s: %d addresses, %d routes, %d throws, %d rules", x.name, a, r, th, ru)
		}
	}
	for _, o := range plan(c, 3, support{v6: true}) {
		if o.Kind == kindRoute && o.Table != tableMain {
			t.Errorf("without policy rules: %v", o)
		}
	}
	if len(plan(Config{}, 0, support{true, true, true})) != 0 {
		t.Error("an empty configuration wants something")
	}
	for _, bad := range []Config{
		{Device: "d", Addrs: []netip.Prefix{{}}}, {Device: "d", MTU: 70000},
		{Device: "d", Routes: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:1.2.3.4"), 128)}},
	} {
		if bad.validate() == nil {
			t.Errorf("accepted %+v", bad)
		}
	}
}
