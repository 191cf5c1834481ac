package state

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Keys of the store: wire document node, section 1.7.
const (
	keyMachine  = "_machinekey"
	keyProfiles = "_profiles"
	keyCurrent  = "_current-profile"

	profilePrefix = "profile-"
)

// Profile is one login of this machine: the preferences with the identity in
// their Config. The zero ID is a profile that has never logged in and is not
// stored.
type Profile struct {
	ID    string // four hex digits, or empty
	Prefs *api.Prefs

	// DiscoKey is the key for path finding: peers that know it recognise the node after
	// a restart even if nobody tells them of a new one. Zero if there is none yet.
	DiscoKey key.DiscoPrivate
	// OldNodeKey is the node key before the latest rotation, zero if there was none.
	OldNodeKey key.NodePrivate

	Network NetworkProfile
	Created time.Time
}

// NetworkProfile is how the tailnet of a profile is shown.
type NetworkProfile struct {
	MagicDNSName string
	DomainName   string
	DisplayName  string `json:",omitempty"`
}

// LoginProfile is the entry of a profile in the list of profiles (wire document
// node, section 1.6).
type LoginProfile struct {
	ID             string
	Name           string
	NetworkProfile NetworkProfile
	Key            string // of the preferences in the store
	UserProfile    control.UserProfile
	NodeID         control.StableNodeID
	LocalUserID    string
	ControlURL     string
	Created        time.Time
}

// MachineKey returns the key that identifies this machine to servers, making it
// in a store that is new. A store that holds profiles but no machine key is
// damaged, which is an error and never a reason for a new one.
func (s *Store) MachineKey() (key.MachinePrivate, error) {
	if text, ok := s.Read(keyMachine); ok {
		var k key.MachinePrivate
		if err := k.UnmarshalText(text); err != nil {
			return key.MachinePrivate{}, &CorruptError{s.Path(), fmt.Errorf("machine key: %w", err)}
		}
		if k.IsZero() {
			return key.MachinePrivate{}, &CorruptError{s.Path(), errors.New("its machine key is zero")}
		}
		return k, nil
	}
	for _, name := range s.Keys() {
		if name == keyProfiles || name == keyCurrent || strings.HasPrefix(name, profilePrefix) {
			return key.MachinePrivate{}, &CorruptError{s.Path(), errors.New("it has profiles but no machine key")}
		}
	}
	k := key.NewMachine()
	text, err := k.MarshalText()
	if err != nil {
		return key.MachinePrivate{}, fmt.Errorf("machine key: %w", err)
	}
	if err := s.Write(Change{keyMachine, text}); err != nil {
		return key.MachinePrivate{}, err
	}
	return k, nil
}

// Profiles returns the list of stored profiles by ID.
func (s *Store) Profiles() (map[string]LoginProfile, error) {
	list := map[string]LoginProfile{}
	text, ok := s.Read(keyProfiles)
	if !ok {
		return list, nil
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, &CorruptError{s.Path(), fmt.Errorf("list of profiles: %w", err)}
	}
	return list, nil
}

// Current returns the selected profile, or a blank one when none is.
func (s *Store) Current() (*Profile, error) {
	name, ok := s.Read(keyCurrent)
	if !ok || len(name) == 0 {
		return &Profile{Prefs: api.NewPrefs()}, nil
	}
	id, isProfile := strings.CutPrefix(string(name), profilePrefix)
	if !isProfile || id == "" {
		return nil, &CorruptError{s.Path(), fmt.Errorf("current profile has the name %q", name)}
	}
	text, ok := s.Read(string(name))
	if !ok {
		return nil, &CorruptError{s.Path(), fmt.Errorf("current profile %q is missing", name)}
	}
	prefs := api.NewPrefs()
	if err := json.Unmarshal(text, prefs); err != nil {
		return nil, &CorruptError{s.Path(), fmt.Errorf("profile %q: %w", id, err)}
	}
	list, err := s.Profiles()
	if err != nil {
		return nil, err
	}
	entry := list[id]
	p := &Profile{ID: id, Prefs: prefs, Network: entry.NetworkProfile, Created: entry.Created}
	if err := s.readKeys(p); err != nil {
		return nil, err
	}
	return p, nil
}

// Save stores the profile and makes it the current one, giving it an ID if it has
// none: all in one step.
func (s *Store) Save(p *Profile) error {
	list, err := s.Profiles()
	if err != nil {
		return err
	}
	id, created := p.ID, p.Created
	if id == "" {
		if id, err = freeID(list); err != nil {
			return err
		}
		created = time.Now().UTC()
	}
	entry := LoginProfile{
		ID: id, Key: profilePrefix + id, NetworkProfile: p.Network, ControlURL: p.Prefs.ControlURL,
		Name: p.Prefs.ProfileName, Created: created,
	}
	if c := p.Prefs.Config; c != nil {
		entry.UserProfile, entry.NodeID = c.UserProfile, c.NodeID
		if entry.Name == "" {
			entry.Name = c.UserProfile.LoginName
		}
	}
	list[id] = entry
	listText, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encoding profiles: %w", err)
	}
	prefsText, err := json.MarshalIndent(p.Prefs, "", "\t")
	if err != nil {
		return fmt.Errorf("encoding preferences: %w", err)
	}
	keysText, err := p.marshalKeys()
	if err != nil {
		return err
	}
	changes := []Change{
		{keyProfiles, listText}, {entry.Key, prefsText}, {keyCurrent, []byte(entry.Key)}, {keysPrefix + id, keysText},
	}
	if next, err := s.NextKey(); err == nil && p.Prefs.Config != nil && next.Key.Equal(p.Prefs.Config.PrivateNodeKey) {
		changes = append(changes, Change{keyNext, nil})
	}
	err = s.Write(changes...)
	if err != nil {
		return err
	}
	p.ID, p.Created = id, created
	return nil
}

// Delete forgets the profile. The current profile is then none.
func (s *Store) Delete(id string) error {
	list, err := s.Profiles()
	if err != nil {
		return err
	}
	delete(list, id)
	listText, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encoding profiles: %w", err)
	}
	changes := []Change{{keyProfiles, listText}, {profilePrefix + id, nil}, {keysPrefix + id, nil}}
	if name, _ := s.Read(keyCurrent); string(name) == profilePrefix+id {
		changes = append(changes, Change{keyCurrent, nil})
	}
	return s.Write(changes...)
}

// DeleteAll forgets all profiles. The machine key stays.
func (s *Store) DeleteAll() error {
	changes := []Change{{keyProfiles, nil}, {keyCurrent, nil}, {keyNext, nil}}
	for _, name := range s.Keys() {
		if strings.HasPrefix(name, profilePrefix) || strings.HasPrefix(name, keysPrefix) {
			changes = append(changes, Change{name, nil})
		}
	}
	return s.Write(changes...)
}

// freeID returns an ID that no profile has.
func freeID(taken map[string]LoginProfile) (string, error) {
	for range 1000 {
		var raw [2]byte
		rand.Read(raw[:]) // never fails
		id := hex.EncodeToString(raw[:])
		if _, used := taken[id]; !used {
			return id, nil
		}
	}
	return "", errors.New("too many profiles")
}
