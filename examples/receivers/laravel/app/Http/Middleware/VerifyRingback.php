<?php

namespace App\Http\Middleware;

use Closure;
use Illuminate\Http\Request;
use RuntimeException;

/** Lets a request through only if these are the bytes that Ringback signed, within the last five minutes. */
class VerifyRingback
{
    public function handle(Request $request, Closure $next)
    {
        $secret = (string) config('services.ringback.secret');
        $key = base64_decode(substr($secret, strlen('whsec_')), true) ?: throw new RuntimeException('set RINGBACK_SECRET');
        $header = fn (string $name): string => (string) $request->header("webhook-$name");
        $signed = "{$header('id')}.{$header('timestamp')}.{$request->getContent()}";
        $wanted = 'v1,' . base64_encode(hash_hmac('sha256', $signed, $key, true));
        $fits = array_filter(explode(' ', $header('signature')), fn (string $given): bool => hash_equals($wanted, $given));
        abort_unless($fits && abs(time() - (int) $header('timestamp')) <= 300, 400);

        return $next($request);
    }
}
