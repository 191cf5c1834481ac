package control

import "fmt"

// OptBool is a truth value that may also be unset: JSON true, false or null. The
// zero value is unset.
type OptBool uint8

// The values of an OptBool.
const (
	Unset OptBool = iota
	False
	True
)

// OptBoolOf returns True or False.
func OptBoolOf(b bool) OptBool {
	if b {
		return True
	}
	return False
}

// Get returns the value and whether it is set.
func (o OptBool) Get() (value, ok bool) { return o == True, o == True || o == False }

// OrElse returns the value, or fallback when it is unset.
func (o OptBool) OrElse(fallback bool) bool {
	if v, ok := o.Get(); ok {
		return v
	}
	return fallback
}

// String returns "true", "false" or "unset".
func (o OptBool) String() string {
	switch o {
	case True:
		return "true"
	case False:
		return "false"
	}
	return "unset"
}

// MarshalJSON writes true, false or null. It never fails.
func (o OptBool) MarshalJSON() ([]byte, error) {
	if _, ok := o.Get(); ok {
		return []byte(o.String()), nil
	}
	return []byte("null"), nil
}

// UnmarshalJSON reads true, false or null and refuses anything else.
func (o *OptBool) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "true":
		*o = True
	case "false":
		*o = False
	case "null":
		*o = Unset
	default:
		return fmt.Errorf("optional boolean: %.32q is not true, false or null", data)
	}
	return nil
}
