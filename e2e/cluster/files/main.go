// Command files is what a pod without a shell needs so that a test can look into its volume:
//
//	files make FOLDER...   makes folders
//	files wait             waits for SIGTERM
//	files cat FOLDER       writes what is in the visible files of a folder, one behind the other
//	files list FOLDER      names all files below a folder, with their sizes
//	files say FILE TEXT    writes a file
//	files proxy LISTEN TARGET FILE
//	                       passes HTTP requests on, as the file says at that moment: "503" refuses them, a number of
//	                       milliseconds delays them
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "files:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("what to do?")
	}
	switch command, paths := arguments[0], arguments[1:]; command {
	case "make":
		for _, path := range paths {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
		}
		return nil
	case "wait":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
		<-signals
		return nil
	case "cat":
		return each(paths, cat)
	case "list":
		return each(paths, list)
	case "say":
		if len(paths) != 2 {
			return errors.New("say FILE TEXT")
		}
		return os.WriteFile(paths[0], []byte(paths[1]), 0o644)
	case "proxy":
		if len(paths) != 3 {
			return errors.New("proxy LISTEN TARGET FILE")
		}
		return proxy(paths[0], paths[1], paths[2])
	default:
		return fmt.Errorf("what is %q?", command)
	}
}

func each(paths []string, do func(string) error) error {
	for _, path := range paths {
		// Nothing was written yet.
		if err := do(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func cat(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), ".") || strings.HasPrefix(entry.Name(), "_") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(content); err != nil {
			return err
		}
	}
	return nil
}

func list(folder string) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			fmt.Printf("%d %s\n", info.Size(), path)
		}
		return err
	})
}

func proxy(listen, target, file string) error {
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	// The name under which it was asked is part of what is signed.
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
	return http.ListenAndServe(listen, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := os.ReadFile(file)
		switch what := strings.TrimSpace(string(text)); what {
		case "":
		case "503":
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "<Error><Code>SlowDown</Code><Message>trouble was asked for</Message></Error>")
			return
		default:
			if delay, err := strconv.Atoi(what); err == nil {
				time.Sleep(time.Duration(delay) * time.Millisecond)
			}
		}
		forward.ServeHTTP(w, r)
	}))
}
