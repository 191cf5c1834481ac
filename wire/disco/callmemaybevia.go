package disco

// CallMeMaybeVia tells a peer of an allocation on a peer relay that the sender made
// for the two of them. It travels through the relay region only.
type CallMeMaybeVia struct {
	Endpoint RelayEndpoint
}

// Append appends the inner message.
func (m *CallMeMaybeVia) Append(dst []byte) []byte {
	return m.Endpoint.append(append(dst, byte(TypeCallMeMaybeVia), version))
}

// Parse reads the body of a message of the given version, reusing the address list of
// m. Another version gives an empty message.
func (m *CallMeMaybeVia) Parse(ver byte, body []byte) error {
	m.Endpoint.reset()
	if ver != version {
		return nil
	}
	return m.Endpoint.parse(body)
}
