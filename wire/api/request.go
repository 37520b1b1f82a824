package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"leat.dev/leat/wire"
)

// request is one message that wants an answer. It owns its memory.
type request struct {
	source  uint64
	subject string // behind the handler's prefix
	reply   string
	body    []byte
}

// requestHandler gives every request a goroutine of its own: requests may wait
// for the log, and the connection's reading must not.
type requestHandler struct {
	f       *Frontend
	serve   func(ctx context.Context, r *request) (answer any, err error)
	running int // requests under way; guarded by Frontend.mu
}

// requestBodyMax bounds the JSON that is parsed.
const requestBodyMax = 256 << 10

// Attach implements wire.Handler.
func (h *requestHandler) Attach(src wire.Source) wire.Sink {
	return &requestSink{h: h, source: src.ID()}
}

type requestSink struct {
	h      *requestHandler
	source uint64
	// read are the requests of this read. They begin at its end, behind what
	// the source published and acknowledged before them.
	read []*request
}

// Msg implements wire.Sink.
func (s *requestSink) Msg(m *wire.Msg) {
	r := &request{source: s.source, subject: string(m.Subject), reply: string(m.Reply)}
	if len(m.Data) > requestBodyMax {
		s.h.f.answer(r, nil, fmt.Errorf("%w: request of %d bytes, at most %d", errBadRequest, len(m.Data), requestBodyMax))
		return
	}
	r.body = bytes.Clone(m.Data)
	s.read = append(s.read, r)
}

// Flush implements wire.Sink.
func (s *requestSink) Flush() {
	for i, r := range s.read {
		s.read[i] = nil
		s.h.start(r)
	}
	s.read = s.read[:0]
}

// Detach implements wire.Sink.
func (s *requestSink) Detach() { s.Flush() }

// start counts a request in and has it served, or refuses it.
func (h *requestHandler) start(r *request) {
	if !h.f.begin(h) {
		h.f.answer(r, nil, fmt.Errorf("%w: %d requests under way, try again later", errBusy, h.f.opts.RequestsMax))
		return
	}
	go h.run(r)
}

// run serves a request that was counted in.
func (h *requestHandler) run(r *request) {
	defer h.f.end(h)
	ctx, cancel := context.WithTimeout(h.f.ctx, h.f.opts.RequestTimeout)
	defer cancel()
	answer, err := h.serve(ctx, r)
	h.f.answer(r, answer, err)
}

// begin counts a request in, unless there are too many or Close has begun.
func (f *Frontend) begin(h *requestHandler) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || h.running >= f.opts.RequestsMax {
		return false
	}
	h.running++
	f.work.Add(1)
	return true
}

func (f *Frontend) end(h *requestHandler) {
	f.mu.Lock()
	h.running--
	f.mu.Unlock()
	f.work.Done()
}

// answer sends the answer in JSON, or the error. No answer and no error means
// that the request answers in its own way.
func (f *Frontend) answer(r *request, answer any, err error) {
	if r.reply == "" || (answer == nil && err == nil) {
		return
	}
	if err != nil {
		answer = struct {
			Error *Error `json:"error"`
		}{wireError(err)}
	}
	body, encodeErr := appendJSON(nil, answer)
	if encodeErr != nil {
		f.opts.Logger.Error("encode an answer", "subject", r.subject, "error", encodeErr)
		return
	}
	if limit := f.bus.PayloadBytesMax(); len(body) > limit && err == nil {
		f.answer(r, nil, fmt.Errorf("%w: it has %d bytes, at most %d: ask for less, as with a smaller limit", errAnswerTooLarge, len(body), limit))
		return
	}
	f.bus.Publish(r.reply, "", nil, body)
}

// appendJSON appends v as JSON that is not meant for HTML: '>' stays itself.
func appendJSON(dst []byte, v any) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// decode reads the request's JSON body into v; no body leaves v as it is. A
// field that does not exist is an error: it is more often a slip than meant.
func (r *request) decode(v any) error {
	if len(bytes.TrimSpace(r.body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); errors.Is(err, errBadRequest) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %s", errBadRequest, jsonFault(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the JSON object", errBadRequest)
	}
	return nil
}

// jsonFault says what is wrong with a request's JSON in words of JSON: what the
// decoder says names types of this program, which its user has never heard of.
func jsonFault(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		what := wrong.Field
		if what == "" {
			what = "the JSON"
		}
		return fmt.Sprintf("%s is %s, want %s", what, gotJSON(wrong.Value), wantJSON(wrong.Type.Kind()))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "the JSON ends too early"
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return "the body is no JSON: " + syntax.Error()
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// gotJSON puts an article before what an UnmarshalTypeError calls a value:
// "string", "array", "number -1".
func gotJSON(value string) string {
	switch {
	case strings.Contains(value, " "):
		return "the " + value
	case value == "array" || value == "object":
		return "an " + value
	}
	return "a " + value
}

// wantJSON names the JSON value that goes into a field of a request.
func wantJSON(kind reflect.Kind) string {
	switch kind {
	case reflect.Struct:
		return "an object"
	case reflect.Slice:
		return "a list of strings"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	default:
		return "a whole number that is not negative"
	}
}
