package api

// StartOptions is the body of POST start (wire document cli, section 5.2).
type StartOptions struct {
	FrontendLogID string `json:",omitempty"`
	// UpdatePrefs replaces the preferences, or is nil.
	UpdatePrefs *Prefs `json:",omitempty"`
	// AuthKey is secret.
	AuthKey string `json:",omitempty"`
}

// String says whether there is an auth key, and never which.
func (o StartOptions) String() string {
	if o.AuthKey != "" {
		return "start with an auth key (redacted)"
	}
	return "start without an auth key"
}

// GoString is the same as String.
func (o StartOptions) GoString() string { return o.String() }

// CheckPrefsResponse is the answer to POST check-prefs.
type CheckPrefsResponse struct {
	Error string // empty for valid
}

// ErrorResponse is the body of a refused edit of preferences.
type ErrorResponse struct {
	Error string `json:"error"`
}
