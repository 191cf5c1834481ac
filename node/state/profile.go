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
	"github.com/ginnel/ginnel/wire/key"
)

// Keys of the store: wire document node, section 1.7.
const (
	keyMachine  = "_machinekey"
	keyProfiles = "_profiles"
	keyCurrent  = "_current-profile"

	profilePrefix = "profile-"
)

// ErrNoProfile is in the chain of errors about a profile that is not stored.
var ErrNoProfile = errors.New("there is no profile")

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

	Network api.NetworkProfile
	Created time.Time
}

// Entry returns the profile as it is listed.
func (p *Profile) Entry() api.LoginProfile {
	entry := api.LoginProfile{
		ID: p.ID, NetworkProfile: p.Network, ControlURL: p.Prefs.ControlURL, Name: p.Prefs.ProfileName, Created: p.Created,
	}
	if p.ID != "" {
		entry.Key = profilePrefix + p.ID
	}
	if c := p.Prefs.Config; c != nil {
		entry.UserProfile, entry.NodeID = c.UserProfile, c.NodeID
		if entry.Name == "" {
			entry.Name = c.UserProfile.LoginName
		}
	}
	return entry
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
func (s *Store) Profiles() (map[string]api.LoginProfile, error) {
	list := map[string]api.LoginProfile{}
	text, ok := s.Read(keyProfiles)
	if !ok {
		return list, nil
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, &CorruptError{s.Path(), fmt.Errorf("list of profiles: %w", err)}
	}
	if list == nil {
		return nil, &CorruptError{s.Path(), errors.New("list of profiles: it is null")}
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
	if _, ok := s.Read(string(name)); !ok {
		return nil, &CorruptError{s.Path(), fmt.Errorf("current profile %q is missing", name)}
	}
	return s.Profile(id)
}

// Profile returns the stored profile with the ID. It fails with ErrNoProfile when there
// is none.
func (s *Store) Profile(id string) (*Profile, error) {
	text, ok := s.Read(profilePrefix + id)
	if !ok {
		return nil, fmt.Errorf("%w with the ID %q", ErrNoProfile, id)
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

// Select makes the stored profile with the ID the current one, or none for the empty ID.
// It fails with ErrNoProfile when there is no such profile.
func (s *Store) Select(id string) error {
	if id == "" {
		return s.Write(Change{keyCurrent, nil})
	}
	if _, ok := s.Read(profilePrefix + id); !ok {
		return fmt.Errorf("%w with the ID %q", ErrNoProfile, id)
	}
	return s.Write(Change{keyCurrent, []byte(profilePrefix + id)})
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
	entry := p.Entry()
	entry.ID, entry.Key, entry.Created = id, profilePrefix+id, created
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
	for _, name := range s.Keys() {
		if !strings.HasPrefix(name, keyNext) || p.Prefs.Config == nil {
			continue
		}
		if next, err := s.readNextKey(name); err == nil && next.Key.Equal(p.Prefs.Config.PrivateNodeKey) {
			changes = append(changes, Change{name, nil})
		}
	}
	if err = s.Write(changes...); err != nil {
		return err
	}
	p.ID, p.Created = id, created
	return nil
}

// Delete forgets the profile. If it was the current one then none is.
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
	if p, err := s.Profile(id); err == nil && p.Prefs.Config != nil {
		changes = append(changes, Change{nextKeyAfter(p.Prefs.Config.PrivateNodeKey.Public()), nil})
	}
	if name, _ := s.Read(keyCurrent); string(name) == profilePrefix+id {
		changes = append(changes, Change{keyCurrent, nil})
	}
	return s.Write(changes...)
}

// DeleteAll forgets all profiles. The machine key stays.
func (s *Store) DeleteAll() error {
	changes := []Change{{keyProfiles, nil}, {keyCurrent, nil}}
	for _, name := range s.Keys() {
		if strings.HasPrefix(name, profilePrefix) || strings.HasPrefix(name, keysPrefix) || strings.HasPrefix(name, keyNext) {
			changes = append(changes, Change{name, nil})
		}
	}
	return s.Write(changes...)
}

// freeID returns an ID that no profile has.
func freeID(taken map[string]api.LoginProfile) (string, error) {
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
