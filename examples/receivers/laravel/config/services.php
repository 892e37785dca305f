<?php

return [
    'ringback' => [
        'secret' => env('RINGBACK_SECRET'), // of the endpoint, whsec_…
        'url' => env('RINGBACK_URL', 'http://127.0.0.1:8080'),
        'token' => env('RINGBACK_TOKEN'), // of the vendor, to catch up
    ],
];
