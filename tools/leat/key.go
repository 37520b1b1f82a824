package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

var (
	// errNoField is returned when a record's JSON lacks the field that --key
	// names.
	errNoField = errors.New("no such field")
	// errKeyValue is returned when the field holds what can't be a key.
	errKeyValue = errors.New("not a key")
)

// keyField finds a record's key in its JSON: a field, or a path of fields
// joined by dots.
type keyField []string

func parseKeyField(text string) (keyField, error) {
	if text == "" {
		return nil, nil
	}
	k := keyField(strings.Split(text, "."))
	if slices.Contains(k, "") {
		return nil, fmt.Errorf("--key %q: want a field's name, or a path as properties.net", text)
	}
	return k, nil
}

// of returns the key: a string as it is, any other value as its JSON text. A
// field that is null means that the record has no key.
func (k keyField) of(record []byte) (key string, ok bool, err error) {
	value := json.RawMessage(record)
	for i, name := range k {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(value, &fields); err != nil {
			return "", false, fmt.Errorf("look for key %s: %w", strings.Join(k[:i+1], "."), err)
		}
		if value, ok = fields[name]; !ok {
			return "", false, fmt.Errorf("look for key %s: %w", strings.Join(k[:i+1], "."), errNoField)
		}
	}
	switch value = bytes.TrimSpace(value); {
	case bytes.Equal(value, []byte("null")):
		return "", false, nil
	case value[0] == '"':
		if err := json.Unmarshal(value, &key); err != nil {
			return "", false, fmt.Errorf("decode key: %w", err)
		}
	default:
		key = string(value)
	}
	// A NATS header ends at the line's end, and spaces around it are no part
	// of it: such a key would come out as another one.
	if strings.ContainsAny(key, "\r\n") || strings.Trim(key, " \t") != key {
		return "", false, fmt.Errorf("%w: %q has a line end in it or white space around it", errKeyValue, key)
	}
	return key, true, nil
}
