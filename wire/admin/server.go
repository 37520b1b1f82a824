package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options says what is served. The Listener is needed.
type Options struct {
	// Listener is where clients come from; Close closes it.
	Listener net.Listener
	// Health returns why the node does not take publishes, or nil.
	Health func() error
	// Pages maps a path to what it shows; a Page is called for each request.
	Pages map[string]Page
	// Gatherer gives the metrics; nil serves none.
	Gatherer prometheus.Gatherer
	Logger   *slog.Logger
}

// Page returns what a path shows, to be encoded as JSON.
type Page func(q Query) (any, error)

// Query is what a request asks of a page.
type Query struct {
	Offset, Limit int // 0 ≤ Offset, 1 ≤ Limit ≤ 1,000
	Prefix        string
}

const limitMax = 1000

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Health == nil {
		o.Health = func() error { return nil }
	}
}

// Validate says what is missing.
func (o *Options) Validate() error {
	if o.Listener == nil {
		return errors.New("admin: Options need a Listener")
	}
	return nil
}

// Server serves the pages. Its goroutine ends with Close.
type Server struct {
	http     *http.Server
	listener net.Listener
	done     chan struct{}
}

// Listen takes an address, so that a port in use is known before there is
// anything to serve on it.
func Listen(addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen for HTTP: %s is in use by another process; stop it or choose another address: %w", addr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP on %s: %w", addr, err)
	}
	return l, nil
}

// Serve serves until Close.
func Serve(o Options) (*Server, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		// Slow clients must not hold connections open for ever.
		http: &http.Server{
			Handler: handler(&o), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
			WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		},
		listener: o.Listener,
		done:     make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			o.Logger.Error("serve HTTP", "error", err)
		}
	}()
	return s, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close ends serving; requests under way get two seconds to finish.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-s.done
	return err
}

func handler(o *Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, paths(o)) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Health(); err != nil {
			writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "unavailable", "error": err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	for path, page := range o.Pages {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { servePage(w, r, page) })
	}
	if o.Gatherer != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{}))
	}
	return mux
}

// paths is the page "/": what there is.
func paths(o *Options) map[string][]string {
	list := slices.AppendSeq([]string{"/healthz"}, maps.Keys(o.Pages))
	if o.Gatherer != nil {
		list = append(list, "/metrics")
	}
	slices.Sort(list)
	return map[string][]string{"paths": list}
}

func servePage(w http.ResponseWriter, r *http.Request, page Page) {
	q := Query{Limit: limitMax, Prefix: r.URL.Query().Get("prefix")}
	for name, field := range map[string]*int{"offset": &q.Offset, "limit": &q.Limit} {
		text := r.URL.Query().Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || (name == "limit" && (n < 1 || n > limitMax)) {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": fmt.Sprintf("%s=%q: want a number, limit from 1 to %d", name, text, limitMax)})
			return
		}
		*field = n
	}
	v, err := page(q)
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, v)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The client is gone when this fails; there is nobody to tell.
	_, _ = w.Write(append(body, '\n'))
}
