package tailnet

import (
	"bytes"
	"slices"

	"github.com/ginnel/ginnel/wire/control"
)

// diff returns in what two versions of a node differ.
func diff(a, b *Node) Fields {
	var f Fields
	set := func(differs bool, field Fields) {
		if differs {
			f |= field
		}
	}
	set(a.Key != b.Key, FieldKey)
	set(!bytes.Equal(a.KeySignature, b.KeySignature), FieldKeySignature)
	set(a.Disco != b.Disco, FieldDisco)
	set(a.LockKey != b.LockKey, FieldLockKey)
	set(a.LockHead != b.LockHead, FieldLockHead)
	set(!slices.Equal(a.Endpoints, b.Endpoints), FieldEndpoints)
	set(a.HomeDERP != b.HomeDERP, FieldHomeDERP)
	set(a.GivenName != b.GivenName || a.NameFixed != b.NameFixed, FieldName)
	set(!slices.Equal(a.Tags, b.Tags), FieldTags)
	set(a.UserID != b.UserID, FieldUser)
	set(!a.KeyExpiry.Equal(b.KeyExpiry), FieldKeyExpiry)
	set(a.Authorized != b.Authorized, FieldAuthorized)
	set(a.Online != b.Online, FieldOnline)
	set(!a.LastSeen.Equal(b.LastSeen), FieldLastSeen)
	set(a.Cap != b.Cap, FieldCap)
	set(a.Ephemeral != b.Ephemeral, FieldEphemeral)
	set(a.AuthKeyID != b.AuthKeyID, FieldAuthKey)
	return f | diffHostinfo(a.Hostinfo, b.Hostinfo)
}

func diffHostinfo(a, b *control.Hostinfo) Fields {
	if a == b || a.Equal(b) {
		return 0
	}
	if a.NetInfo == nil || b.NetInfo == nil {
		return FieldHostinfo
	}
	x, y := *a, *b
	x.NetInfo, y.NetInfo = nil, nil
	if x.Equal(&y) && a.NetInfo.EqualButLatency(b.NetInfo) {
		return FieldLatency
	}
	return FieldHostinfo
}
