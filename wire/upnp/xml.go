package upnp

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The limits of documents.
const (
	// MaxDocument is the size in bytes of the largest description or SOAP message.
	MaxDocument = 256 << 10

	maxDepth    = 24
	maxElements = 8192
	maxText     = 1024 // of one element
)

// walk goes through a document. For each element it calls leaf when the element ends,
// with the names from the root to it, without namespaces, and the text right in it. path
// is valid during the call only.
//
// Devices write bad XML: what a reader can forgive is forgiven.
func walk(b []byte, open func(path []string, e xml.StartElement), leaf func(path []string, text string) error) error {
	if len(b) > MaxDocument {
		return fmt.Errorf("%w: document of %d bytes", ErrTooLarge, len(b))
	}
	d := xml.NewDecoder(bytes.NewReader(bytes.ToValidUTF8(b, []byte("?"))))
	d.Strict = false
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // all that counts is ASCII
	var path []string
	var texts []strings.Builder
	elements := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrXML, err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			if elements++; elements > maxElements || len(path) >= maxDepth {
				return fmt.Errorf("%w: %d elements, %d deep", ErrTooLarge, elements, len(path)+1)
			}
			path, texts = append(path, x.Name.Local), append(texts, strings.Builder{})
			if open != nil {
				open(path, x)
			}
		case xml.CharData:
			if n := len(texts); n > 0 && texts[n-1].Len() < maxText {
				texts[n-1].Write(x[:min(len(x), maxText-texts[n-1].Len())])
			}
		case xml.EndElement:
			n := len(path)
			if n == 0 {
				return fmt.Errorf("%w: %s ends, which has not begun", ErrXML, x.Name.Local)
			}
			if err := leaf(path, strings.TrimSpace(texts[n-1].String())); err != nil {
				return err
			}
			path, texts = path[:n-1], texts[:n-1]
		}
	}
	if elements == 0 || len(path) > 0 {
		return fmt.Errorf("%w: it ends early", ErrXML)
	}
	return nil
}

// escape makes text fit for a document.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}
