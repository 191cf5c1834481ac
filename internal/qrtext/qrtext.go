// Package qrtext shows text as a QR code on a terminal or as a picture.
//
// The code itself comes from a library; this is only its rendering in characters.
package qrtext

import (
	"encoding/base64"
	"fmt"
	"strings"

	"rsc.io/qr"
)

// Format is a way to draw a code with characters.
type Format string

// The formats. Small packs two rows in one line with half blocks, Large takes two
// columns for each module, and ASCII uses no character beyond that set.
const (
	Small Format = "small"
	Large Format = "large"
	ASCII Format = "ascii"
)

// quiet is the width in modules of the light border that readers need.
const quiet = 2

// Code is an encoded text.
type Code struct{ code *qr.Code }

// Encode makes the smallest code of text. It fails for texts of some thousand
// bytes.
func Encode(text string) (*Code, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return nil, fmt.Errorf("qr code: %w", err)
	}
	return &Code{code}, nil
}

// Text draws the code in lines that all end in a newline. Light is drawn, dark is
// left blank, as suits a dark terminal; with color, the colours are set so that it
// is right on any.
func (c *Code) Text(f Format, color bool) string {
	var b strings.Builder
	step := 1
	if f == Small {
		step = 2
	}
	for y := -quiet; y < c.code.Size+quiet; y += step {
		if color {
			b.WriteString("\x1b[97;40m")
		}
		for x := -quiet; x < c.code.Size+quiet; x++ {
			b.WriteString(c.cell(f, x, y))
		}
		if color {
			b.WriteString("\x1b[0m")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// cell returns the characters for one module, or for that and the one below.
func (c *Code) cell(f Format, x, y int) string {
	top := !c.code.Black(x, y)
	switch f {
	case Large:
		if top {
			return "██"
		}
		return "  "
	case ASCII:
		if top {
			return "##"
		}
		return "  "
	}
	bottom := !c.code.Black(x, y+1) && y+1 < c.code.Size+quiet
	switch {
	case top && bottom:
		return "█"
	case top:
		return "▀"
	case bottom:
		return "▄"
	}
	return " "
}

// DataURL returns the code as a PNG picture in a data URL.
func (c *Code) DataURL() string {
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(c.code.PNG())
}
